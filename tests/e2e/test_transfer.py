"""Uploads and downloads of the SDK against a real Score: what is kept, what is refused, what is noticed."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from score.v1.upload_pb2 import UPLOAD_STATE_OPEN, Upload, UploadPart
from score.v1.upload_service_pb2 import CompleteUploadResponse, PartAck, WriteUploadResponse
from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import (
    AccessError,
    AnalysisNotPublishedError,
    IntegrityError,
    LocalFileError,
    ObjectDigestMismatchError,
    ServiceError,
    SizeNotRegisteredError,
    SongUnavailableError,
    UnavailableError,
)
from song_score_client.score import ScoreClient
from song_score_client.transfer import upload as upload_module
from song_score_client.transfer.download import DownloadResult, download_object
from song_score_client.transfer.journal import Journal
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_file import open_file
from song_score_client.transfer.partial_file import PartialFile
from song_score_client.transfer.parts import PartQueue
from song_score_client.transfer.rate import RateLimit, piece_bytes
from song_score_client.transfer.upload import UploadResult, upload_file
from song_score_client.transfer.upload_stream import UploadStream

from tests.servers.raw_score import MIB
from tests.servers.score_world import PART, World, random_bytes

SIZE = 3 * PART + 2 * MIB + 17


class Record(Listener):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.moved = self.verified = self.withdrawn = 0
        self.begun: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def begin(self, size_bytes: int, done_bytes: int) -> None:
        self.begun = size_bytes, done_bytes

    def move(self, size_bytes: int) -> None:
        with self._lock:
            self.moved += size_bytes

    def verify(self, size_bytes: int) -> None:
        with self._lock:
            self.verified += size_bytes

    def withdraw(self, size_bytes: int) -> None:
        with self._lock:
            self.withdrawn += size_bytes

    def say(self, message: str) -> None:
        self.said.append(message)


class Side:
    """A user's machine: a file, a state folder, a client."""

    def __init__(self, world: World, folder: Path, data: bytes) -> None:
        folder.mkdir()
        self.world, self.folder = world, folder
        self.file = folder / "reads.bam"
        self.file.write_bytes(data)
        self.listener = Record()

    def upload(self, **options: object) -> UploadResult:
        with ScoreClient(Connection("score", self.world.score.address, retry=RetryPolicy(max_tries=4))) as score:
            return upload_file(
                score,
                "object-1",
                self.file,
                state_dir=self.folder / "state",
                listener=self.listener,
                **options,  # type: ignore[arg-type]  # options of upload_file
            )

    def download(self, name: str = "out.bam", **options: object) -> DownloadResult:
        with ScoreClient(Connection("score", self.world.score.address, retry=RetryPolicy(max_tries=4))) as score:
            return download_object(
                score,
                "object-1",
                self.folder / name,
                allow_unpublished=True,
                listener=self.listener,
                **options,  # type: ignore[arg-type]  # options of download_object
            )


@pytest.fixture
def data() -> bytes:
    return random_bytes(SIZE)


@pytest.fixture
def side(world: World, tmp_path: Path, data: bytes) -> Side:
    world.register("object-1", data)
    world.start("object-1")  # in small parts, which every client joins
    return Side(world, tmp_path / "side", data)


def test_a_file_goes_up_and_comes_down(side: Side, data: bytes) -> None:
    result = side.upload()
    assert (result.part_total, result.kept_part_total, result.sent_bytes) == (4, 0, SIZE)
    assert side.listener.begun == (SIZE, 0)
    assert side.listener.moved == side.listener.verified == SIZE
    down = side.download()
    assert down.md5 == hashlib.md5(data).hexdigest()
    assert down.path.read_bytes() == data
    assert sorted(path.name for path in side.folder.iterdir()) == ["out.bam", "reads.bam", "state"]
    assert list((side.folder / "state").iterdir()) == []


@pytest.mark.parametrize("streams", [2, 7])
def test_several_streams_carry_one_file(side: Side, data: bytes, streams: int) -> None:
    assert side.upload(streams=streams).sent_bytes == SIZE
    assert side.download(streams=streams).path.read_bytes() == data


def test_an_empty_file_goes_up_and_comes_down(world: World, tmp_path: Path) -> None:
    world.register("object-1", b"")
    side = Side(world, tmp_path / "side", b"")
    side.upload()
    assert side.download().path.read_bytes() == b""


def test_uploading_again_sends_nothing(side: Side) -> None:
    side.upload()
    again = side.upload()
    assert (again.kept_part_total, again.sent_bytes) == (4, 0)


def test_another_machine_goes_on_without_a_journal(side: Side, tmp_path: Path, data: bytes) -> None:
    upload = side.world.start("object-1")
    side.world.send(upload, data, 1, 3)
    other = Side(side.world, tmp_path / "other machine", data)
    result = other.upload()
    assert (result.kept_part_total, result.sent_bytes) == (2, SIZE - 2 * PART)
    assert any("2 of 4 parts" in said for said in other.listener.said)


def test_parts_that_differ_from_the_file_are_replaced(side: Side, data: bytes) -> None:
    wrong = bytearray(data)
    wrong[PART + 1] ^= 1
    side.world.send(side.world.start("object-1"), bytes(wrong), 1, 2)
    result = side.upload()
    assert (result.kept_part_total, result.sent_bytes) == (1, SIZE - PART)


def test_a_mismatch_sends_only_what_differs_whatever_the_journal_says(side: Side, data: bytes) -> None:
    wrong = bytearray(data)
    wrong[2 * PART + 1] ^= 1
    side.file.write_bytes(wrong)
    written = side.file.stat()
    with pytest.raises(ObjectDigestMismatchError):
        side.upload()
    with side.file.open("r+b") as file:
        file.write(data)
    os.utime(side.file, ns=(written.st_atime_ns, written.st_mtime_ns))  # as if nothing had happened
    result = side.upload()
    assert result.sent_bytes == PART
    assert side.listener.withdrawn == PART
    assert result.stored_object.md5 == hashlib.md5(data).hexdigest()


def test_a_wrong_file_of_the_right_size_is_named_with_both_digests(side: Side, data: bytes) -> None:
    wrong = bytearray(data)
    wrong[-1] ^= 1
    side.file.write_bytes(wrong)
    with pytest.raises(ObjectDigestMismatchError) as raised:
        side.upload()
    assert hashlib.md5(wrong).hexdigest() in raised.value.message
    assert hashlib.md5(data).hexdigest() in raised.value.message
    with pytest.raises(ServiceError):
        side.download()
    side.file.write_bytes(data)
    assert side.upload().sent_bytes == 2 * MIB + 17


def test_a_file_of_another_size_is_refused_before_a_byte_moves(side: Side) -> None:
    side.file.write_bytes(b"too short")
    with pytest.raises(SizeNotRegisteredError):
        side.upload()
    assert side.listener.moved == 0


def test_a_file_that_changes_during_the_upload_is_an_error_and_nothing_becomes_visible(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = upload_module._Transfer._send

    def send_and_touch(transfer: upload_module._Transfer, *arguments: object) -> None:
        genuine(transfer, *arguments)  # type: ignore[arg-type]  # passed on
        side.file.write_bytes(data[:-1] + b"!")

    monkeypatch.setattr(upload_module._Transfer, "_send", send_and_touch)
    with pytest.raises(LocalFileError, match="changed while it was being uploaded"):
        side.upload()
    assert side.world.start("object-1").persisted_part_total == 4


def test_a_file_that_shrinks_during_the_upload_is_an_error(side: Side) -> None:
    class Shrink(Record):
        def move(self, size_bytes: int) -> None:
            super().move(size_bytes)
            os.truncate(side.file, MIB)

    side.listener = Shrink()
    with pytest.raises(LocalFileError, match="became shorter"):
        side.upload()


def test_song_being_down_at_completion_is_survived(side: Side) -> None:
    class StopSong(Record):
        def verify(self, size_bytes: int) -> None:
            super().verify(size_bytes)
            if self.verified == SIZE:
                side.world.song.stop()

        def say(self, message: str) -> None:
            super().say(message)
            side.world.song.start()

    side.listener = StopSong()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "call", telling(side.listener, Connection.call))
        assert side.upload().sent_bytes == SIZE


def telling(listener: Record, call: object) -> object:
    """Return Connection.call, with its retries told to the listener."""

    def told(connection: Connection, *arguments: object, **options: object) -> object:
        connection.on_retry = lambda error, _failures, _delay: listener.say(str(error))
        return call(connection, *arguments, **options)  # type: ignore[operator]  # it is a function

    return told


def test_song_down_for_good_says_so(side: Side) -> None:
    side.world.song.stop()
    with pytest.raises(SongUnavailableError):
        side.upload()


def test_an_existing_file_is_compared_not_overwritten(side: Side, data: bytes) -> None:
    side.upload()
    target = side.folder / "out.bam"
    target.write_bytes(data)
    assert side.download().fetched_bytes == 0
    target.write_bytes(b"something precious")
    with pytest.raises(LocalFileError, match="--force"):
        side.download()
    assert target.read_bytes() == b"something precious"
    assert side.download(force=True).fetched_bytes == SIZE
    assert target.read_bytes() == data


def test_damage_on_this_disk_is_found_and_only_that_part_fetched_again(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.upload()
    interrupt_before_finish(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        side.download()
    monkeypatch.undo()
    with (side.folder / "out.bam.partial").open("r+b") as file:
        file.seek(PART + 7)
        file.write(b"bit rot")
    result = side.download()
    assert (result.kept_part_total, result.path.read_bytes()) == (4, data)
    assert side.listener.withdrawn == PART


def test_parts_alone_are_checked_too_when_the_file_was_touched(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.upload()
    interrupt_before_finish(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        side.download(whole_md5=False)
    monkeypatch.undo()
    with (side.folder / "out.bam.partial").open("r+b") as file:
        file.seek(PART + 7)
        file.write(b"bit rot")
    result = side.download(whole_md5=False)
    assert (result.kept_part_total, result.fetched_bytes, result.md5) == (3, PART, None)
    assert result.path.read_bytes() == data


def test_a_partial_file_that_was_deleted_is_begun_anew(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    side.upload()
    interrupt_before_finish(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        side.download()
    monkeypatch.undo()
    (side.folder / "out.bam.partial").unlink()
    result = side.download()
    assert (result.kept_part_total, result.path.read_bytes()) == (0, data)


def interrupt_before_finish(patch: pytest.MonkeyPatch) -> None:
    """Let the next download be interrupted when every part is there."""

    def interrupt(_: PartialFile) -> None:
        raise KeyboardInterrupt

    patch.setattr(PartialFile, "finish", interrupt)


def test_two_downloads_to_one_target_are_refused(side: Side) -> None:
    side.upload()
    holder = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(side.folder / ".out.bam.score")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LocalFileError, match="another process"):
            side.download()
        process.kill()
    side.download()


def test_a_download_of_unpublished_bytes_must_be_asked_for(side: Side) -> None:
    side.upload()
    with (
        ScoreClient.open(side.world.score.address) as score,
        pytest.raises(AnalysisNotPublishedError),
    ):
        download_object(score, "object-1", side.folder / "out.bam")
    assert not (side.folder / "out.bam").exists()


def test_the_rate_limit_holds_for_all_streams_together() -> None:
    now: list[float] = [0.0]
    slept: list[float] = []
    limit = RateLimit(10 * MIB, clock=lambda: now[0], sleep=slept.append)
    for _ in range(21):
        limit.take(MIB)
    assert slept[-1] == pytest.approx(2.0)
    now[0] = 100.0
    limit.take(MIB)
    assert len(slept) == 20  # nothing is saved up, nothing is owed


def test_a_limit_is_taken_in_pieces_of_a_sixteenth_of_a_second() -> None:
    assert piece_bytes(None, MIB) == MIB
    assert piece_bytes(RateLimit(1000 * MIB), MIB) == MIB
    assert piece_bytes(RateLimit(8 * MIB), MIB) == MIB // 2
    assert piece_bytes(RateLimit(1), MIB) == 4096


TORN = [
    *(b"", b"x", b'{"part": 3, "xxh', b'{"part": "three"}', b"[]", b"null", b'{"part": 3}', b"\xff\xfe\0"),
    *(b'{"part": 1e999, "xxh3_128": "x"}', b'{"part": NaN, "xxh3_128": "x"}', b"[" * 100_000),
    *(b'{"part": 3, "xxh3_128": "\xc3\xa9"}', b'{"part": "' + b"9" * 5000 + b'", "xxh3_128": "x"}'),
]


@pytest.mark.parametrize("torn", TORN, ids=lambda torn: repr(torn[:20]))
def test_a_torn_journal_keeps_what_stands_before_the_tear(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, {"upload_id": "one"})
    journal.add(1, "a" * 32)
    journal.add(2, "b" * 32)
    journal.close()
    with path.open("ab") as file:
        file.write(torn)
    journal = Journal(path, {"upload_id": "one"})
    assert journal.digests == {1: "a" * 32, 2: "b" * 32}
    journal.add(3, "c" * 32)
    journal.close()
    assert [json.loads(line).get("part") for line in path.read_text().splitlines()] == [None, 1, 2, 3]
    other = Journal(path, {"upload_id": "another"})
    assert other.digests == {}
    other.close()


@pytest.mark.parametrize("garbage", TORN, ids=lambda torn: repr(torn[:20]))
def test_a_journal_of_garbage_is_begun_anew(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(garbage)
    journal = Journal(path, {"upload_id": "one"})
    assert journal.digests == {}
    journal.add(1, "a" * 32)
    journal.close()
    assert [json.loads(line).get("part") for line in path.read_text().splitlines()] == [None, 1]


def test_a_row_without_its_line_break_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, {"upload_id": "one"})
    journal.add(1, "a" * 32)
    journal.close()
    path.write_bytes(path.read_bytes().rstrip())
    journal = Journal(path, {"upload_id": "one"})
    journal.add(2, "b" * 32)
    journal.close()
    journal = Journal(path, {"upload_id": "one"})
    assert set(journal.digests) == {1, 2}
    journal.close()


def test_a_journal_is_never_written_through_a_link_or_to_a_pipe(tmp_path: Path) -> None:
    victim, link, pipe = tmp_path / "victim", tmp_path / "link", tmp_path / "pipe"
    victim.write_text("precious")
    link.symlink_to(victim)
    os.mkfifo(pipe)
    with pytest.raises(LocalFileError, match="symbolic link"):
        Journal(link, {})
    with pytest.raises(LocalFileError, match="is not a file"):
        Journal(pipe, {})
    assert victim.read_text() == "precious"


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_and_not_waited_for(side: Side) -> None:
    side.file.unlink()
    os.mkfifo(side.file)
    with pytest.raises(LocalFileError, match="is not a file"):
        side.upload()
    side.file = Path("nul\0.bam")
    with pytest.raises(LocalFileError, match="null byte"):
        side.upload()


def test_a_journal_that_outlived_its_upload_is_removed_by_the_next_run(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", Journal.close)  # as if killed between completion and removal
        side.upload()
    assert len(list((side.folder / "state").iterdir())) == 1
    side.upload()
    assert list((side.folder / "state").iterdir()) == []


def refuse_manifest(*_: object, **__: object) -> object:
    """Answer as Score does to somebody who may not read."""
    raise AccessError("no", service="score", code=grpc.StatusCode.PERMISSION_DENIED, reason="SCOPE_MISSING")


@pytest.mark.parametrize("may_read", [True, False])
def test_a_file_is_compared_with_what_is_stored_already(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch, may_read: bool
) -> None:
    side.upload()
    if not may_read:
        monkeypatch.setattr(ScoreClient, "get_chunk_manifest", refuse_manifest)
    assert side.upload().sent_bytes == 0
    wrong = bytearray(data)
    wrong[-1] ^= 1
    side.file.write_bytes(wrong)
    with pytest.raises(ObjectDigestMismatchError) as raised:
        side.upload()
    assert hashlib.md5(wrong).hexdigest() in raised.value.message
    assert hashlib.md5(data).hexdigest() in raised.value.message


class Meddle(Record):
    """Does something between the look at what is persisted and the first byte."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def begin(self, size_bytes: int, done_bytes: int) -> None:
        super().begin(size_bytes, done_bytes)
        self.act()


@pytest.mark.parametrize("rate", [None, RateLimit(20 * MIB)], ids=["sent whole", "acknowledged in the middle"])
def test_parts_that_another_client_persisted_meanwhile_are_compared_and_replaced(
    side: Side, data: bytes, rate: RateLimit | None
) -> None:
    wrong = bytearray(data)
    wrong[1] ^= 1
    upload = side.world.start("object-1")
    side.listener = Meddle(lambda: side.world.send(upload, bytes(wrong), 1, 2))
    result = side.upload(rate=rate)
    assert result.stored_object.md5 == hashlib.md5(data).hexdigest()
    assert any("part 1 is persisted with other bytes" in said for said in side.listener.said)
    assert not any("part 2 is persisted with other bytes" in said for said in side.listener.said)
    assert side.listener.verified == SIZE


def test_a_wrong_file_whose_upload_another_client_completed_is_no_success(side: Side, data: bytes) -> None:
    side.file.write_bytes(bytes(SIZE))
    upload = side.world.start("object-1")

    def finish() -> None:
        side.world.send(upload, data)
        side.world.complete(upload)

    side.listener = Meddle(finish)
    with pytest.raises(ObjectDigestMismatchError, match=hashlib.md5(data).hexdigest()):
        side.upload()


def test_a_part_that_stays_different_after_its_replacement_is_an_integrity_error(side: Side) -> None:
    queue = PartQueue([])
    with open_file(side.file) as file:
        stream = UploadStream(side.world.start("object-1"), file, queue, set(), side.listener, None, lambda _part: None)
        other = UploadPart(part_number=2, size_bytes=PART, xxh3_128="0" * 32)
        stream._answer(WriteUploadResponse(ack=PartAck(part=other)))
        assert (queue.take(), stream.replaced) == (2, {2})
        with pytest.raises(IntegrityError, match="Run the command again"):
            stream._answer(WriteUploadResponse(ack=PartAck(part=other)))


@pytest.mark.parametrize("times", [2, 1000])
def test_a_completion_that_has_not_begun_is_asked_for_again(
    side: Side, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    genuine = ScoreClient.complete_upload
    asked: list[str] = []

    def complete(score: ScoreClient, upload_id: str) -> CompleteUploadResponse:
        asked.append(upload_id)
        if len(asked) > times:
            return genuine(score, upload_id)
        return CompleteUploadResponse(upload=Upload(upload_id=upload_id, state=UPLOAD_STATE_OPEN))

    monkeypatch.setattr(ScoreClient, "complete_upload", complete)
    if times == 2:
        assert side.upload().stored_object.size_bytes == SIZE
        return
    with pytest.raises(UnavailableError, match="has not begun to verify"):
        side.upload()
    assert len(asked) == 4  # as often as the retry policy tries


def test_a_corrupted_chunk_on_the_way_down_is_fetched_again(
    side: Side, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from song_score_client.transfer import download_stream  # noqa: PLC0415 - damaged here alone

    from byte_path import codec  # noqa: PLC0415 - damaged here alone

    side.upload()
    damaged: list[int] = []

    def decode(message: bytes) -> object:
        decoded = codec.decode_read_response(message)
        if isinstance(decoded, codec.ReadData) and decoded.offset == PART + MIB and not damaged:
            damaged.append(decoded.offset)
            return codec.ReadData(decoded.read_id, decoded.offset, memoryview(bytes(MIB)), decoded.xxh3_64)
        return decoded

    monkeypatch.setattr(download_stream, "decode_read_response", decode)
    assert side.download().path.read_bytes() == data
    assert damaged
    assert side.listener.verified == 2 * SIZE  # up and down: damaged bytes never count
