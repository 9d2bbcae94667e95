"""Kafka on loopback: Apache's own broker, where Java and Maven can be had, and librdkafka's mock in a process."""

import json
import os
import shutil
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.servers.processes import ServiceProcess, free_port

VERSION = "3.9.1"
_START_SECONDS = 60
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""


def kafka_classes() -> Path:
    """Return the folder of Kafka's archives, fetched from Maven Central once; skips the test where that can't be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "song-score-tests" / f"kafka-{VERSION}"
    if not shutil.which("java"):
        pytest.skip("needs Java for Apache Kafka")
    if cache.is_dir():
        return cache
    maven = shutil.which("mvn")
    if maven is None:
        pytest.skip("needs Maven, to fetch Apache Kafka")
    work = cache.with_name(f"kafka-{uuid4().hex}")
    work.mkdir(parents=True)
    try:
        (work / "pom.xml").write_text(_POM)
        command = [maven, "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={work / 'classes'}"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"needs Apache Kafka from Maven Central: {done.stdout[-300:]}")
        if not cache.is_dir():
            (work / "classes").rename(cache)
    finally:
        shutil.rmtree(work)
    return cache


class Kafka:
    """Apache Kafka: one node, its data in `folder`; start, kill and start again on the same port."""

    def __init__(self, classes: Path, folder: Path) -> None:
        self._classes, self._folder = classes, folder
        self._process: subprocess.Popen[bytes] | None = None
        port, controller_port = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = folder / "server.properties"
        self._settings.write_text(
            f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{self.address}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder / "logs"}
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""
        )
        cluster = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_")  # no flag
        tool = [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings)]
        subprocess.run(tool, capture_output=True, timeout=_START_SECONDS, check=True)

    def start(self) -> None:
        """Return once it serves."""
        log_path = self._folder / f"log-{uuid4().hex}"
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._settings)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while "Kafka Server started" not in log_path.read_text():
            assert time.monotonic() < deadline, log_path.read_text()[-3000:]
            assert self._process.poll() is None, log_path.read_text()[-3000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _java(self) -> list[str]:
        return ["java", "-Xmx256m", "-cp", f"{self._classes}/*"]


class MockKafka(ServiceProcess):
    """A process with librdkafka's mock of a Kafka, all in memory."""

    def __init__(self, log_path: Path) -> None:
        super().__init__(["-m", "tests.servers.kafka"], log_path)


@dataclass(frozen=True, slots=True)
class Received:
    """A message as consumers see it."""

    key: str
    text: str
    headers: dict[str, str]

    @property
    def value(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.text)
        return parsed


def consume(
    address: str, topic: str, is_enough: Callable[[Sequence[Received]], bool], timeout_seconds: float = 120
) -> list[Received]:
    """Return the messages of a topic, from its beginning until there are enough."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": uuid4().hex, "reconnect.backoff.max.ms": 500})
    received: list[Received] = []
    deadline = time.monotonic() + timeout_seconds
    assigned: set[int] = set()
    try:
        while not is_enough(received):
            assert time.monotonic() < deadline, f"only {len(received)} messages in {timeout_seconds} s"
            if not assigned:  # the topic is made by the first message
                found = consumer.list_topics(topic, timeout=10).topics[topic]
                assigned = set(found.partitions)
                consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in assigned])
            message = consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            headers = {
                name: value.decode() if isinstance(value, bytes) else value or ""
                for name, value in dict(message.headers() or []).items()
            }
            received.append(Received((message.key() or b"").decode(), (message.value() or b"").decode(), headers))
    finally:
        consumer.close()
    return received


def without_duplicates(received: Sequence[Received]) -> list[Received]:
    """Return the first message of each event."""
    first: dict[str, Received] = {}
    for message in received:
        first.setdefault(message.headers["event_id"], message)
    return list(first.values())


def main() -> None:
    """Run the mock until this process is killed."""
    producer = Producer({"test.mock.num.brokers": 1})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    print(json.dumps({"event": "listening", "address": f"{broker.host}:{broker.port}"}), flush=True)
    while True:
        producer.poll(10)


if __name__ == "__main__":
    main()
