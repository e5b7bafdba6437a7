"""Benchmarks of a hub on Kafka: `make bench-kafka`. For developers; not part of the installed product.

    kafka.py     the whole run, in one process that only waits      broker.py   a broker of its own, or the one that is named
    process.py   processes that do one part each                    world.py    topics, partners, shards
    plain.py     a relay as aiokafka's documentation writes it      tuned.py    a relay on the product's own transport
    router.py    the product's router                               partner.py  who publishes, receives and counts
    memory.py    a claim that remembers a million notices

What is measured stands in docs/performance.md.
"""
