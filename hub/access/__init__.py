"""Who may do what on a Kafka cluster, kept as the registry says: topics, settings, users and access lists.

plan.py        what must be there, from a view of the registry: pure
changes.py     what differs from what is there, in the order to mend it: pure
cluster.py     reads and changes a cluster
passwords.py   the files that new users' passwords are handed over in
keeping.py     one pass, or one after the other for as long as the registry changes
"""
