"""Three nodes, three copies, two of them before a record counts: what that bears, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from kafka.admin import KafkaAdminClient, NewTopic

from tests.kafka.broker import BROKER, NoKafkaError, command, processes_of
from tests.kafka.private import Nodes, StartCluster

TOPIC = "test.three"
pytestmark = pytest.mark.slow


def make_topic(cluster: Nodes) -> None:
    """As many copies as the brokers say, unless told otherwise."""
    admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    try:
        admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=-1)])
    finally:
        admin.close()


async def write(cluster: Nodes, *values: bytes, within: float = 30.0) -> None:
    """Acknowledged by all in-sync copies, or an error."""
    producer = AIOKafkaProducer(bootstrap_servers=cluster.bootstrap, acks="all", request_timeout_ms=int(within * 1000))
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(TOPIC, value)
    finally:
        await asyncio.wait_for(producer.stop(), 15)


async def read(cluster: Nodes) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=cluster.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        found: list[bytes] = []
        while len(found) < end:
            batches = await consumer.getmany(timeout_ms=1_000)
            found += [record.value for record in batches.get(partition, [])]
        return found
    finally:
        await consumer.stop()


async def test_what_was_acknowledged_outlives_the_killing_of_any_node_and_of_all(three_nodes: StartCluster) -> None:
    cluster = three_nodes()
    make_topic(cluster)
    await write(cluster, b"all up")
    cluster.kill(1)
    await write(cluster, b"one killed")
    cluster.start(1)
    cluster.kill()
    cluster.start()
    assert await read(cluster) == [b"all up", b"one killed"]


async def test_one_copy_alone_accepts_nothing(three_nodes: StartCluster) -> None:
    """Both others have left in order, so the last one is leader, and knows that it is alone."""
    cluster = three_nodes()
    make_topic(cluster)
    cluster.stop(1)
    await write(cluster, b"two there")
    cluster.stop(2)
    with pytest.raises((KafkaError, asyncio.TimeoutError)):
        await write(cluster, b"one there", within=3)
    cluster.start()
    assert await read(cluster) == [b"two there"]


async def test_a_node_that_is_stopped_in_order_comes_back(three_nodes: StartCluster) -> None:
    cluster = three_nodes(nodes=1)
    make_topic(cluster)
    await write(cluster, b"1")
    cluster.stop(1)
    assert not cluster.is_ready()
    cluster.start(1)
    assert cluster.is_ready()
    assert await read(cluster) == [b"1"]


def test_a_paused_node_answers_nobody_until_it_is_resumed(three_nodes: StartCluster) -> None:
    cluster = three_nodes(nodes=1)
    cluster.pause(1)
    assert not cluster.is_ready()
    assert processes_of(cluster.home)
    cluster.resume(1)
    assert cluster.is_ready()
    cluster.pause(1)
    cluster.stop(1)  # a paused one hears of it too
    assert not processes_of(cluster.home)


def test_a_cluster_keeps_its_shape(three_nodes: StartCluster, tmp_path: Path) -> None:
    cluster = three_nodes(nodes=1)
    with pytest.raises(NoKafkaError, match="holds a cluster of 1, plaintext: wipe it first"):
        command("start", "--nodes", 3, "--dir", cluster.home)
    with pytest.raises(NoKafkaError, match="there is no node 2: this cluster has 1 to 1"):
        cluster.kill(2)
    with pytest.raises(NoKafkaError, match="no cluster in"):
        command("stop", "--dir", tmp_path / "elsewhere")


def test_a_port_that_is_another_clusters_does_not_pass_for_ready(three_nodes: StartCluster, tmp_path: Path) -> None:
    """The second one cannot listen and ends; it must not be taken for started because the first one answers."""
    cluster = three_nodes(nodes=1)
    port = cluster.bootstrap.rpartition(":")[2]
    home = tmp_path / "second"
    try:
        with pytest.raises(NoKafkaError, match="node 1 ended"):
            command("start", "--dir", home, "--port", port, "--watch", os.getpid())
    finally:
        command("wipe", "--dir", home)
    assert cluster.is_ready()


def test_wiping_leaves_no_process_and_no_data(three_nodes: StartCluster) -> None:
    cluster = three_nodes(nodes=1)
    assert processes_of(cluster.home)
    cluster.wipe()
    assert not processes_of(cluster.home)
    assert not list(cluster.home.glob("node-*"))
    cluster.wipe()  # nothing is there, and nothing is wrong


def test_a_formatting_that_was_cut_short_is_done_again(three_nodes: StartCluster) -> None:
    cluster = three_nodes(nodes=1)
    cluster.kill()
    data = cluster.home / "node-1" / "data"
    (data / ".formatted").unlink()  # what is written last
    (data / "meta.properties").write_text("version=1\n")
    cluster.start()
    assert cluster.is_ready()


OWNER = """
import subprocess, sys, time, os
subprocess.run([sys.executable, *sys.argv[1:], "--watch", str(os.getpid())], check=True)
time.sleep(600)
"""


def test_no_broker_outlives_a_killed_owner(three_nodes: StartCluster, tmp_path: Path) -> None:
    """As when pytest is killed: nobody is left to clean up but the guard."""
    home = tmp_path / "orphan"
    words = [BROKER, "start", "--dir", home, "--port", "0"]
    with subprocess.Popen([sys.executable, "-c", OWNER, *words], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout and owner.stdout.readline().startswith("127.0.0.1:")
        assert json.loads((home / "layout.json").read_text())["nodes"] == 1
        assert processes_of(home)
        owner.send_signal(signal.SIGKILL)
    begun = time.monotonic()
    while processes_of(home) or home.exists():
        assert time.monotonic() - begun < 20
        time.sleep(0.1)
