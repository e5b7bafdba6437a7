"""The log on Apache Kafka, for a hub on several machines: aiokafka 0.14 tested with brokers of 4.2.

`KafkaLog` is the port of `hub.log`; the other modules are its parts:

    cluster.py    one client: topics, settings, Fetch requests       records.py    records to bytes and back
    watch.py      who waits for records                              producing.py  appends and transactions
    claim.py      a shard's holder: fence, barrier, restore, commit  state.py      its state as a topic
    feed.py       what a claim reads

It leans on parts of aiokafka that are not its public face (requests, the reading of record sets, a producer's sender), so
its minor version is pinned, and tests/log and tests/kafka hold each of them.
"""

from hub.log.kafka.claim import KafkaClaim
from hub.log.kafka.log import KafkaLog

__all__ = ["KafkaClaim", "KafkaLog"]
