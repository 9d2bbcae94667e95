"""Two replicas of Score on one PostgreSQL and one S3: either may do anything, and die doing it."""

import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED
from score.v1.upload_pb2 import UPLOAD_STATE_ABORTED, UPLOAD_STATE_COMPLETING, UPLOAD_STATE_OPEN, Upload
from score.v1.upload_service_pb2 import (
    CompleteUploadRequest,
    GetUploadRequest,
    OpenUpload,
    StartUploadRequest,
    UploadChunk,
    WriteUploadRequest,
)
from song_score_client.errors import PartTakenOverError
from song_score_client.score import ScoreClient
from song_score_client.transfer.upload import upload_file
from sqlalchemy import text

from runtime_grpc.database import Database
from tests.servers import seaweedfs as seaweed
from tests.servers.postgresql import new_database
from tests.servers.processes import ServiceProcess
from tests.servers.raw_score import MIB, RawScore, bytes_of, chunks_of
from tests.servers.registry_song import TOKEN, RegistrySong
from tests.servers.score_world import PART, random_bytes

SHORT_LEASES = {"LEASE_SECONDS": 3.0, "SWEEP_PERIOD_SECONDS": 0.3, "COLLECT_PERIOD_SECONDS": 0.5}
PATIENCE_SECONDS = 90


class Replica:
    """One process, and a connection to it."""

    def __init__(self, settings: dict[str, object], place: str, log: Path) -> None:
        command = ["tests/servers/dying_score.py", place, "1", json.dumps(settings), json.dumps(SHORT_LEASES)]
        self.log = log
        self.process = ServiceProcess(command, log, {"PYTHONPATH": str(Path.cwd())})
        self.address = self.process.address
        self.raw = RawScore(self.address)

    def end(self) -> None:
        self.raw.channel.close()
        self.process.kill()

    def upload(self, upload_id: str) -> Upload:
        return self.raw.uploads.GetUpload(GetUploadRequest(upload_id=upload_id)).upload


class Replicas:
    """What they share: Song, database, bucket."""

    def __init__(self, song: RegistrySong, seaweedfs: seaweed.SeaweedFS, database_url: str, folder: Path) -> None:
        self.song, self.folder, self.database_url = song, folder, database_url
        self.bucket = seaweedfs.client()
        self._settings: dict[str, object] = {
            "port": 0,
            "song_address": song.address,
            "service_token": TOKEN,
            "database_url": database_url,
            "drain_seconds": 5,
            "store": "s3",
            "s3_bucket": seaweed.BUCKET,
            "s3_endpoint": seaweedfs.endpoint,
            "s3_access_key": seaweed.ACCESS_KEY_ID,
            "s3_secret_key": seaweed.SECRET_ACCESS_KEY,
        }
        self._started: list[Replica] = []

    def start(self, place: str = "nowhere") -> Replica:
        """Start one that dies at this place."""
        log = self.folder / f"replica-{len(self._started)}.log"
        self._started.append(Replica(self._settings, place, log))
        return self._started[-1]

    def end(self) -> None:
        for replica in self._started:
            replica.end()
        self.bucket.close()

    def register(self, object_id: str, data: bytes) -> str:
        md5 = hashlib.md5(data).hexdigest()
        self.song.register(object_id, len(data), md5)
        return md5

    def multipart_uploads(self, object_id: str) -> int:
        """Return how many stagings of an object the store keeps."""
        found = self.bucket.list_multipart_uploads(Bucket=seaweed.BUCKET, Prefix=f"data/{object_id}")
        return len(found.get("Uploads", []))

    def plain_bytes(self, key: str) -> bytes:
        with self.bucket.get_object(Bucket=seaweed.BUCKET, Key=key)["Body"] as body:
            return body.read()


@pytest.fixture
def replicas(
    request: pytest.FixtureRequest, song: RegistrySong, seaweedfs: seaweed.SeaweedFS, tmp_path: Path
) -> Iterator[Replicas]:
    found = Replicas(song, seaweedfs, new_database(request), tmp_path)
    yield found
    found.end()


class PartStream:
    """A stream that sends chunks when it is told, to stop in the middle of a part."""

    def __init__(self, replica: Replica, upload_id: str) -> None:
        self._requests: queue.SimpleQueue[WriteUploadRequest | None] = queue.SimpleQueue()
        self._requests.put(WriteUploadRequest(open=OpenUpload(upload_id=upload_id)))
        self._replica = replica
        self.answers = replica.raw.uploads.WriteUpload(iter(self._requests.get, None))

    def send(self, *chunks: UploadChunk) -> None:
        for chunk in chunks:
            self._requests.put(WriteUploadRequest(chunk=chunk))

    def finish(self) -> list[int]:
        """Return the parts acknowledged. Raises ServiceError."""
        self._requests.put(None)
        try:
            return [answer.ack.part.part_number for answer in self.answers if answer.HasField("ack")]
        except Exception as error:
            raise self._replica.raw.error(error) from error  # type: ignore[arg-type]  # gRPC's


def wait_until(is_so: Callable[[], bool], *replicas: Replica) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "\n".join(replica.log.read_text()[-3000:] for replica in replicas)
        time.sleep(0.05)


def start(replica: Replica, object_id: str) -> Upload:
    return replica.raw.uploads.StartUpload(StartUploadRequest(object_id=object_id, part_size_hint_bytes=PART)).upload


def complete(replica: Replica, upload_id: str) -> None:
    replica.raw.uploads.CompleteUpload(CompleteUploadRequest(upload_id=upload_id))
    wait_until(lambda: replica.upload(upload_id).state != UPLOAD_STATE_COMPLETING, replica)


def test_parts_of_one_upload_are_written_over_both_and_either_shows_the_object(replicas: Replicas) -> None:
    one, other = replicas.start(), replicas.start()
    data = random_bytes(3 * PART + 17)
    md5 = replicas.register("over-both", data)
    upload = start(one, "over-both")
    assert start(other, "over-both").upload_id == upload.upload_id
    for number in range(1, 5):
        replica = (one, other)[number % 2]
        replica.raw.write(upload.upload_id, chunks_of(number, data[(number - 1) * PART : number * PART]))
    assert [one.upload(upload.upload_id).persisted_part_total] == [4]
    complete(other, upload.upload_id)
    for replica in (one, other):
        answers = replica.raw.read("over-both", (0, None), unpublished=True)
        assert hashlib.md5(bytes_of(answers)).hexdigest() == md5
        assert answers[0].stored_object.verification == VERIFICATION_VERIFIED


def test_a_part_taken_over_at_the_other_replica_is_the_newer_streams_and_the_stale_bytes_never_win(
    replicas: Replicas,
) -> None:
    one, other = replicas.start(), replicas.start()
    data = random_bytes(2 * PART)
    replicas.register("taken-over", data)
    upload = start(one, "taken-over")
    stale = PartStream(one, upload.upload_id)
    wrong = [*chunks_of(1, bytes(PART))]
    stale.send(*wrong[:-1])
    wait_until(lambda: has_joined(replicas, upload.upload_id), one)

    other.raw.write(upload.upload_id, chunks_of(1, data[:PART]))
    stale.send(wrong[-1])
    with pytest.raises(PartTakenOverError):
        stale.finish()

    other.raw.write(upload.upload_id, chunks_of(2, data[PART:]))
    complete(other, upload.upload_id)
    assert one.upload(upload.upload_id).state != UPLOAD_STATE_OPEN, "the newer stream's part was lost"
    assert bytes_of(one.raw.read("taken-over", (0, None), unpublished=True)) == data


def has_joined(replicas: Replicas, upload_id: str) -> bool:
    """Whether a stream of this upload has got its epoch: an older one than that of whoever comes now."""
    database = Database(replicas.database_url)
    with database.read() as connection:
        query = text("SELECT stream_epoch FROM uploads WHERE upload_id = :upload_id")
        epoch = connection.execute(query, {"upload_id": upload_id}).scalar_one()
    database.close()
    return int(epoch) > 0


@pytest.mark.parametrize(
    "place", ["after completion has begun", "before assembly", "after assembly", "before the object is in the ledger"]
)
def test_a_completion_whose_replica_is_killed_is_finished_by_the_other(replicas: Replicas, place: str) -> None:
    dying, other = replicas.start(place), replicas.start()
    data = random_bytes(2 * PART + 17)
    object_id = "killed-" + hashlib.md5(place.encode()).hexdigest()[:8]
    replicas.register(object_id, data)
    upload = start(dying, object_id)
    for number in (1, 2, 3):
        dying.raw.write(upload.upload_id, chunks_of(number, data[(number - 1) * PART : number * PART]))
    with pytest.raises(Exception, match=r".") as raised:
        complete(dying, upload.upload_id)
    assert raised.type is not AssertionError
    assert dying.process.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert other.upload(upload.upload_id).state == UPLOAD_STATE_COMPLETING  # under the dead one's lease
    wait_until(lambda: other.upload(upload.upload_id).state != UPLOAD_STATE_COMPLETING, other)
    assert bytes_of(other.raw.read(object_id, (0, None), unpublished=True)) == data
    assert replicas.multipart_uploads(object_id) == 0


def test_two_clients_with_one_object_at_the_same_time_come_to_one_result(replicas: Replicas) -> None:
    one, other = replicas.start(), replicas.start()
    data = random_bytes(7 * 16 * MIB + 17)
    md5 = replicas.register("one-result", data)
    file = replicas.folder / "reads.bam"
    file.write_bytes(data)

    def upload(number: int) -> str:
        with ScoreClient.open((one, other)[number].address) as client:
            state = replicas.folder / f"state-{number}"
            return upload_file(client, "one-result", file, state_dir=state).stored_object.md5

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(upload, (0, 1))) == [md5, md5]
    assert replicas.plain_bytes("data/one-result") == data
    assert replicas.multipart_uploads("one-result") == 0
    database = Database(replicas.database_url)
    with database.read() as connection:
        found = connection.execute(text("SELECT state FROM uploads WHERE object_id = 'one-result'")).scalars().all()
    database.close()
    assert found == ["COMPLETED"]


def test_both_collect_what_expired_and_nothing_else(replicas: Replicas) -> None:
    one, other = replicas.start(), replicas.start()
    data = random_bytes(2 * PART)
    uploads = {}
    for number in range(8):
        object_id = f"collected-{number}"
        replicas.register(object_id, data)
        uploads[number] = start((one, other)[number % 2], object_id)
        one.raw.write(uploads[number].upload_id, chunks_of(1, data[:PART]))
    database = Database(replicas.database_url)
    expire = text("UPDATE uploads SET update_time = 0 WHERE upload_id = ANY(:ids)")
    with database.write() as connection:
        connection.execute(expire, {"ids": [uploads[number].upload_id for number in range(0, 8, 2)]})
    database.close()
    expired, living = [uploads[number] for number in (0, 2, 4, 6)], [uploads[number] for number in (1, 3, 5, 7)]
    wait_until(lambda: not any(replicas.multipart_uploads(each.object_id) for each in expired), one, other)
    for upload in expired:
        assert one.upload(upload.upload_id).state == UPLOAD_STATE_ABORTED
    for upload in living:
        assert other.upload(upload.upload_id).persisted_part_total == 1
        other.raw.write(upload.upload_id, chunks_of(2, data[PART:]))
        complete(one, upload.upload_id)
        assert bytes_of(other.raw.read(upload.object_id, (0, None), unpublished=True)) == data


def test_a_client_goes_on_at_the_other_replica_when_its_own_is_told_to_stop(replicas: Replicas) -> None:
    one, other = replicas.start(), replicas.start()
    data = random_bytes(6 * 16 * MIB + 17)
    md5 = replicas.register("moves-on", data)
    file, target = replicas.folder / "reads.bam", replicas.folder / "down.bam"
    file.write_bytes(data)
    up = run_client(replicas.folder, "up", one, other, file)
    wait_until(lambda: persisted_parts(replicas) >= 1, one, other)
    assert one.process.terminate() == 0
    output, _ = up.communicate(timeout=PATIENCE_SECONDS)
    assert up.returncode == 0
    assert json.loads(output)["bytes"] <= len(data) + 16 * MIB  # the part under way at most comes again

    third = replicas.start()
    down = run_client(replicas.folder, "down", third, other, target)
    partial = target.with_name("down.bam.partial")
    wait_until(lambda: partial.exists() and partial.stat().st_blocks > 0, third)
    assert third.process.terminate() == 0
    output, _ = down.communicate(timeout=PATIENCE_SECONDS)
    assert (down.returncode, json.loads(output)["md5"]) == (0, md5)
    assert hashlib.md5(target.read_bytes()).hexdigest() == md5


def run_client(folder: Path, direction: str, first: Replica, second: Replica, path: Path) -> "subprocess.Popen[str]":
    """Start a client that knows both, and moves its bytes slowly."""
    command = [sys.executable, "tests/e2e/uploader.py", direction, f"ipv4:{first.address},{second.address}", "moves-on"]
    command += [str(path), str(folder / "state"), str(24 * MIB)]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def persisted_parts(replicas: Replicas) -> int:
    database = Database(replicas.database_url)
    with database.read() as connection:
        total = connection.execute(text("SELECT count(*) FROM upload_parts")).scalar_one()
    database.close()
    return int(total)
