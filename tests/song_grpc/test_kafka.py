"""Events in Kafka: what they look like, their order, and that none is lost, whoever is killed."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import randbytes as random_bytes
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import grpc
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic
from pydantic import ValidationError
from song.v1 import (
    analysis_service_pb2,
    analysis_service_pb2_grpc,
    event_service_pb2,
    event_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
)
from sqlalchemy import select

from runtime_grpc.command_line import StartRefusedError
from runtime_grpc.database import Database
from song_grpc import gateways
from song_grpc.database import tables
from song_grpc.gateways.kafka import KafkaLogin, KafkaOptions
from song_grpc.use_cases import relay
from tests.servers.kafka import Kafka, MockKafka, Received, consume, kafka_classes, without_duplicates
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.song_grpc.world import FakeScore, World, file, payload, running, sample, serve_score, song_settings

KEYS = ["analysisId", "studyId", "state", "action", "songServerId", "analysis"]
ANALYSIS_KEYS = {
    *("analysisId", "studyId", "analysisState", "createdAt", "updatedAt", "firstPublishedAt", "publishedAt"),
    *("analysisStateHistory", "samples", "files", "analysisType"),
}
FILE_KEYS = {
    *("objectId", "studyId", "analysisId", "fileName", "fileSize", "fileType", "fileMd5sum", "fileAccess", "dataType"),
}
SAMPLE_KEYS = {
    *("sampleId", "specimenId", "submitterSampleId", "sampleType", "matchedNormalSubmitterSampleId"),
    *("specimen", "donor"),
}
SPECIMEN_KEYS = {
    *("specimenId", "donorId", "submitterSpecimenId", "tumourNormalDesignation", "specimenTissueSource"),
    "specimenType",
}
DONOR_KEYS = {"donorId", "studyId", "submitterDonorId", "gender"}


@pytest.fixture(scope="module")
def mock_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = MockKafka(tmp_path_factory.mktemp("kafka") / "log")
    yield process.address
    process.kill()


@pytest.fixture(scope="module")
def apache_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    kafka = Kafka(kafka_classes(), tmp_path_factory.mktemp("kafka"))
    try:
        kafka.start()
        yield kafka.address
    finally:
        kafka.kill()


@pytest.fixture(params=["mock", "apache"])
def kafka_address(request: pytest.FixtureRequest) -> str:
    """A running Kafka; tests keep apart by topics of their own."""
    address: str = request.getfixturevalue(f"{request.param}_kafka")
    return address


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid4().hex}"


def replay(world: World, **start: Any) -> int:  # noqa: ANN401 - fields of the message
    stub = event_service_pb2_grpc.EventServiceStub(world.channel)
    return stub.ReplayEvents(event_service_pb2.ReplayEventsRequest(**start)).event_total


def actions(received: Sequence[Received], analysis_id: str) -> list[object]:
    return [message.value["action"] for message in received if message.key == analysis_id]


def outbox_ids(url: str) -> dict[str, list[str]]:
    """Return the event ids of each analysis, in the order they were stored."""
    database = Database(url)
    with database.read() as connection:
        rows = connection.execute(
            select(tables.outbox.c.analysis_id, tables.outbox.c.event_id).order_by(tables.outbox.c.number)
        ).all()
    database.close()
    stored: dict[str, list[str]] = {}
    for row in rows:
        stored.setdefault(row.analysis_id, []).append(row.event_id)
    return stored


def has_all(stored: dict[str, list[str]], received: Sequence[Received]) -> bool:
    return {event for events in stored.values() for event in events} <= {
        message.headers["event_id"] for message in received
    }


def check_order(stored: dict[str, list[str]], received: Sequence[Received]) -> None:
    """Check that every event arrived, and that those of one analysis are in their order, duplicates dropped."""
    once = without_duplicates(received)
    assert {
        analysis_id: [message.headers["event_id"] for message in once if message.key == analysis_id]
        for analysis_id in stored
    } == stored


def test_the_value_has_exactly_the_keys_that_indexers_know(kafka_address: str, topic: str, folder: Path) -> None:
    with running(folder, kafka_servers=kafka_address, kafka_topic=topic, server_id="song.tests") as world:
        study_id = world.new_study()
        exact = '"big": 123456789012345678901234567890.123456789012345678901234567890, "zero": -0'
        text = json.dumps(payload(study_id, samples=[sample(info={"é": 1})], files=[file(info={"a": None})]))
        first = world.submit(study_id, f"{text[:-1]}, {exact}}}")
        name = world.new_type({"type": "object", "properties": {}}, options={"entity_model": 2})
        bare = world.submit(
            study_id, {"studyId": study_id, "analysisType": {"name": name}, "files": [file()], "mine": {"x": 1}}
        )
        received = consume(kafka_address, topic, lambda found: len(found) == 2)
        stored = world.events(first)[0]
    values = {message.key: message.value for message in received}
    assert [list(value) for value in values.values()] == [KEYS, KEYS]
    value: Any = values[first]
    assert [value[key] for key in KEYS[:-1]] == [first, study_id, "UNPUBLISHED", "CREATE", "song.tests"]
    assert set(value["analysis"]) == ANALYSIS_KEYS | {"experiment", "big", "zero"}
    (found_sample,), (found_file,) = value["analysis"]["samples"], value["analysis"]["files"]
    assert set(found_sample) - {"info"} == SAMPLE_KEYS
    assert set(found_sample["specimen"]) - {"info"} == SPECIMEN_KEYS
    assert set(found_sample["donor"]) - {"info"} == DONOR_KEYS
    assert set(found_file) - {"info"} == FILE_KEYS
    assert set(value["analysis"]["analysisType"]) == {"name", "version"}
    nothing: Any = values[bare]
    assert nothing["analysis"]["samples"] == []
    assert set(nothing["analysis"]) == ANALYSIS_KEYS | {"mine"}
    (text,) = [message.text for message in received if message.key == first]
    assert '"big":123456789012345678901234567890.123456789012345678901234567890,"zero":-0' in text
    assert "é" in text
    (headers,) = [message.headers for message in received if message.key == first]
    assert headers["event_id"] == stored.event_id
    assert headers["time"].endswith("+00:00")
    assert set(headers) == {"event_id", "time"}


def test_parallel_changes_arrive_in_the_order_of_each_analysis(
    kafka_address: str, topic: str, folder: Path, own_database_url: str
) -> None:
    with running(folder, own_database_url, kafka_servers=kafka_address, kafka_topic=topic) as world:
        study_id = world.new_study()

        def live(number: int) -> str:
            analysis_id = world.submit(study_id, payload(study_id, samples=[sample(number)]))
            world.score.hold(world.get(study_id, analysis_id))
            for _ in range(3):
                world.publish(study_id, analysis_id)
                world.unpublish(study_id, analysis_id)
            world.suppress(study_id, analysis_id)
            return analysis_id

        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(live, range(12)))
        received = consume(kafka_address, topic, lambda found: len(found) >= 12 * 8)
        stored = outbox_ids(world.url)
    assert len(received) == 12 * 8
    check_order(stored, received)
    expected = ["CREATE", *["PUBLISH", "UNPUBLISH"] * 3, "SUPPRESS"]
    assert all(actions(received, analysis_id) == expected for analysis_id in made)


def test_overtures_actions_call_an_update_publish(mock_kafka: str, topic: str, folder: Path) -> None:
    with running(folder, kafka_servers=mock_kafka, kafka_topic=topic, overture_actions=True) as world:
        study_id = world.new_study()
        analysis_id = world.submit(study_id, payload(study_id))
        changed = analysis_service_pb2.PatchAnalysisRequest(
            study_id=study_id, analysis_id=analysis_id, etag="*", patch_json='{"experiment": {"more": 1}}'
        )
        world.analyses.PatchAnalysis(changed)
        received = consume(mock_kafka, topic, lambda found: len(found) == 2)
        stub = event_service_pb2_grpc.EventServiceStub(world.channel)
        watched = stub.WatchEvents(event_service_pb2.WatchEventsRequest(from_beginning=True, until_now=True))
        seen = [response.event.action for response in watched if response.HasField("event")]
    assert actions(received, analysis_id) == ["CREATE", "PUBLISH"]
    assert seen == [event_service_pb2.EVENT_ACTION_CREATE, event_service_pb2.EVENT_ACTION_UPDATE]


def test_a_replay_sends_events_again_in_their_order_before_newer_ones(
    mock_kafka: str, topic: str, folder: Path, own_database_url: str
) -> None:
    with running(folder, own_database_url, kafka_servers=mock_kafka, kafka_topic=topic) as world:
        study_id = world.new_study()
        analysis_id = world.submit(study_id, payload(study_id))
        world.score.hold(world.get(study_id, analysis_id))
        world.publish(study_id, analysis_id)
        world.unpublish(study_id, analysis_id)
        first = consume(mock_kafka, topic, lambda found: len(found) == 3)
        assert replay(world, from_event_id=first[1].headers["event_id"]) == 2
        consume(mock_kafka, topic, lambda found: len(found) == 5)
        assert replay(world, from_time=world.get(study_id, analysis_id).create_time) == 3
        world.suppress(study_id, analysis_id)
        received = consume(mock_kafka, topic, lambda found: "SUPPRESS" in actions(found, analysis_id))
    ids = [message.headers["event_id"] for message in received]
    assert ids[3:8] == [ids[1], ids[2], *ids[:3]]
    assert [message.text for message in received[5:8]] == [message.text for message in first]


def test_events_get_their_order_while_kafka_is_down_and_go_there_once_it_is_up(folder: Path, tmp_path: Path) -> None:
    kafka = Kafka(kafka_classes(), tmp_path / "kafka")
    with ExitStack() as cleanup, running(folder, kafka_servers=kafka.address) as world:
        cleanup.callback(kafka.kill)
        study_id = world.new_study()
        stub = event_service_pb2_grpc.EventServiceStub(world.channel)
        stream = stub.WatchEvents(event_service_pb2.WatchEventsRequest(), timeout=60)
        next(stream)
        made = [world.submit(study_id, payload(study_id)) for _ in range(5)]
        assert [next(stream).event.analysis_id for _ in made] == made
        kafka.start()
        received = consume(kafka.address, "song-analysis", lambda found: len(found) >= 5)
        stream.cancel()
    assert sorted(message.key for message in without_duplicates(received)) == sorted(made)


class Changes:
    """Callers that submit, publish, unpublish and suppress at a Song, until told to stop; what fails, they leave."""

    def __init__(self, address: str, score: FakeScore, callers: int = 4) -> None:
        self._score, self._stopped = score, threading.Event()
        self._channel = grpc.insecure_channel(address)
        self._stub = analysis_service_pb2_grpc.AnalysisServiceStub(self._channel)
        study = study_pb2.Study(study_id="S")
        study_service_pb2_grpc.StudyServiceStub(self._channel).CreateStudy(
            study_service_pb2.CreateStudyRequest(study=study), wait_for_ready=True
        )
        self.acknowledged: list[str] = []
        self._threads = [threading.Thread(target=self._change, args=(number,)) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def await_analyses(self, count: int) -> None:
        """Wait until so many have been submitted."""
        deadline = time.monotonic() + 60
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """End the callers."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._channel.close()

    def _change(self, number: int) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            sent = json.dumps(payload("S", samples=[sample(f"{number}-{count}")]))
            try:
                submit = analysis_service_pb2.SubmitAnalysisRequest(study_id="S", payload_json=sent)
                analysis_id = self._stub.SubmitAnalysis(submit, timeout=30).analysis_id
                self.acknowledged.append(analysis_id)
                get = analysis_service_pb2.GetAnalysisRequest(study_id="S", analysis_id=analysis_id)
                self._score.hold(self._stub.GetAnalysis(get, timeout=30).analysis)
                named: Any = {"study_id": "S", "analysis_id": analysis_id}
                self._stub.PublishAnalysis(analysis_service_pb2.PublishAnalysisRequest(**named), timeout=30)
                self._stub.UnpublishAnalysis(analysis_service_pb2.UnpublishAnalysisRequest(**named), timeout=30)
                self._stub.SuppressAnalysis(analysis_service_pb2.SuppressAnalysisRequest(**named), timeout=30)
            except grpc.RpcError:
                return


def start_song(folder: Path, url: str, score: str, kafka: str, topic: str) -> ServiceProcess:
    """Start a Song in a process of its own."""
    arguments = ["--port", "0", "--data-dir", str(folder), "--database-url", url, "--score-address", score]
    arguments += ["--kafka-servers", kafka, "--kafka-topic", topic, "--drain-seconds", "1"]
    folder.mkdir(parents=True, exist_ok=True)
    return ServiceProcess(["-m", "song_grpc", *arguments], folder / f"log-{uuid4().hex}")


def test_no_event_is_lost_when_kafka_is_killed(topic: str, folder: Path, tmp_path: Path) -> None:
    kafka = Kafka(kafka_classes(), tmp_path / "kafka")
    with ExitStack() as cleanup:
        cleanup.callback(kafka.kill)
        kafka.start()
        with running(folder, kafka_servers=kafka.address, kafka_topic=topic) as world:
            changes = Changes(world.song.address, world.score)
            cleanup.callback(changes.stop)
            changes.await_analyses(10)
            kafka.kill()
            changes.await_analyses(20)
            kafka.start()
            changes.await_analyses(30)
            changes.stop()
            stored = outbox_ids(world.url)
            received = consume(kafka.address, topic, lambda found: has_all(stored, found))
    check_order(stored, received)


@pytest.mark.parametrize(("kind", "database"), [("mock", "sqlite"), ("apache", "postgresql")])
def test_no_event_is_lost_when_song_is_killed(
    kind: str, database: str, topic: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    kafka_address: str = request.getfixturevalue(f"{kind}_kafka")
    url = new_database(request) if database == "postgresql" else f"sqlite:///{folder / 'song.db'}"
    score = FakeScore()  # type: ignore[abstract]  # Song asks for batches only
    with serve_score(score) as score_address, ExitStack() as cleanup:
        song = start_song(folder, url, score_address, kafka_address, topic)
        cleanup.callback(song.kill)
        changes = Changes(song.address, score)
        cleanup.callback(changes.stop)
        changes.await_analyses(20)
        song.kill()
        changes.stop()
        again = start_song(folder, url, score_address, kafka_address, topic)
        cleanup.callback(again.kill)
        stored = outbox_ids(url)
        received = consume(kafka_address, topic, lambda found: has_all(stored, found))
    assert set(changes.acknowledged) <= set(stored)
    check_order(stored, received)


def test_of_two_songs_one_relays_and_the_other_takes_over(
    mock_kafka: str, topic: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    url, score = new_database(request), FakeScore()  # type: ignore[abstract]  # Song asks for batches only
    with serve_score(score) as score_address, ExitStack() as cleanup:
        songs = [start_song(folder / name, url, score_address, mock_kafka, topic) for name in ("one", "two")]
        for song in songs:
            cleanup.callback(song.kill)
        changes = Changes(songs[0].address, score)
        cleanup.callback(changes.stop)
        changes.await_analyses(20)
        holders = relay_holders(url)
        assert len(holders) == 1
        songs[0].kill()
        changes.stop()
        stored = outbox_ids(url)
        received = consume(mock_kafka, topic, lambda found: has_all(stored, found))
        with grpc.insecure_channel(songs[1].address) as channel:
            sent = analysis_service_pb2.SubmitAnalysisRequest(study_id="S", payload_json=json.dumps(payload("S")))
            last = analysis_service_pb2_grpc.AnalysisServiceStub(channel).SubmitAnalysis(sent).analysis_id
        consume(mock_kafka, topic, lambda found: any(message.key == last for message in found))
    check_order(stored, received)


def relay_holders(url: str) -> set[str]:
    """Return who held the relay while changes went on."""
    database, holders = Database(url), set()
    for _ in range(20):
        with database.read() as connection:
            holders.add(connection.execute(select(tables.relay.c.holder)).scalar_one())
        time.sleep(0.02)
    database.close()
    return holders - {""}


def test_an_event_too_large_for_the_topic_waits_until_the_topic_takes_it(
    apache_kafka: str, topic: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr(relay, "_log", log)
    admin = AdminClient({"bootstrap.servers": apache_kafka})
    admin.create_topics([NewTopic(topic, 1, config={"max.message.bytes": "100000"})])[topic].result(30)
    with running(folder, kafka_servers=apache_kafka, kafka_topic=topic) as world:
        study_id = world.new_study()
        noise = random_bytes(400_000).hex()  # compresses to half of it, no less
        large = world.submit(study_id, payload(study_id, noise=noise))
        small = world.submit(study_id, payload(study_id, samples=[sample(2)]))
        stub = event_service_pb2_grpc.EventServiceStub(world.channel)
        watched = stub.WatchEvents(event_service_pb2.WatchEventsRequest(from_beginning=True, until_now=True))
        assert len([response for response in watched if response.HasField("event")]) == 2
        deadline = time.monotonic() + 60
        while not log.warning.called:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = log.warning.call_args.kwargs["error"]
        assert "max.message.bytes" in said
        assert noise[:100] not in said
        setting = ConfigEntry("max.message.bytes", "10000000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[setting])
        admin.incremental_alter_configs([resource])[resource].result(30)
        received = consume(apache_kafka, topic, lambda found: len(found) >= 2)
    assert [message.key for message in without_duplicates(received)] == [large, small]
    assert log.warning.call_count == 1
    assert log.info.call_count == 1


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"kafka_user": "u"}, "kafka_password"),
        ({"kafka_user": "u", "kafka_password": "p"}, "sasl_ssl"),
        ({"kafka_security": "sasl_ssl"}, "kafka_user"),
        ({"kafka_topic": "a b"}, "kafka_topic"),
        ({"kafka_ca_file": "nowhere.pem"}, "kafka_ca_file"),
        ({"server_id": ""}, "server_id"),
        ({"event_retention_days": -1}, "event_retention_days"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(folder: Path, told: dict[str, Any], named: str) -> None:
    if named in {"sasl_ssl", "kafka_password", "kafka_user"}:
        told = {"kafka_servers": "127.0.0.1:1", **told}
    if named == "kafka_password":
        told = {"kafka_security": "sasl_ssl", **told}
    with pytest.raises(ValidationError) as raised:
        song_settings(folder, **told)
    assert named in str(raised.value)


def test_the_password_is_shown_nowhere(folder: Path) -> None:
    login = {"kafka_security": "sasl_ssl", "kafka_user": "u", "kafka_password": "not-to-be-shown"}
    settings = song_settings(folder, kafka_servers="127.0.0.1:1", **login)
    assert "not-to-be-shown" not in f"{settings!r} {settings.masked()}"
    options = KafkaOptions("127.0.0.1:1", "t", "sasl_ssl", "", KafkaLogin("PLAIN", "u", "not-to-be-shown"))
    assert "not-to-be-shown" not in repr(options)


def test_a_song_without_the_library_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "song_grpc.gateways.kafka", None)
    monkeypatch.delattr(gateways, "kafka")
    with pytest.raises(StartRefusedError, match="extra 'kafka'"), running(folder, kafka_servers="127.0.0.1:1"):
        pass


def test_a_certificate_that_can_not_be_read_keeps_song_from_starting(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text("no certificate")
    told: Any = {"kafka_servers": "127.0.0.1:1", "kafka_security": "ssl", "kafka_ca_file": broken}
    with pytest.raises(StartRefusedError, match="Kafka can't be used"), running(folder, **told):
        pass
