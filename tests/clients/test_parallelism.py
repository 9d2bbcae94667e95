"""How many streams a transfer takes: on paths that are calculated, and with queues and threads that are real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from song_score_client.commands import options
from song_score_client.connection import Connection
from song_score_client.errors import StoredBytesCorruptError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.gathering import Gathering
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.local_check import repair_file
from song_score_client.transfer.parallelism import (
    HOLD_WINDOWS,
    MAX_STREAMS,
    START_STREAMS,
    WINDOW_SECONDS,
    Share,
    StreamControl,
    Streams,
    metered,
    useful_streams,
)
from song_score_client.transfer.parts import PartQueue, Parts
from song_score_client.transfer.range_download import download_range
from song_score_client.transfer.streams import run_streams
from song_score_client.transfer.upload import upload_file
from song_score_client.transports import Transport
from typer.testing import CliRunner

from benchmarks.delay_proxy import DelayProxy
from tests.servers.score_world import PART, World, random_bytes

MIB = 1024 * 1024


def long_path(per_stream: float, whole: float) -> Callable[[int], float]:
    """Each stream brings so much, bounded by its window and the round trip, until the path itself is full."""
    return lambda streams: min(streams * per_stream, whole)


def watch(control: StreamControl, path: Callable[[int], float], windows: int) -> list[int]:
    limits = []
    for _ in range(windows):
        control.observe(path(control.limit), 0)
        limits.append(control.limit)
    return limits


def test_streams_double_while_that_brings_more() -> None:
    control = StreamControl()
    assert control.limit == START_STREAMS
    assert watch(control, long_path(10, 10_000), 3) == [8, 16, 16]


def test_what_brings_nothing_is_given_back_and_tried_again_much_later() -> None:
    control = StreamControl()
    limits = watch(control, long_path(25, 100), 2 + HOLD_WINDOWS + 1)
    assert limits[:2] == [8, 4]
    assert limits[1:-1] == [4] * (HOLD_WINDOWS + 1)
    assert limits[-1] == 8


@pytest.mark.parametrize(("per_stream", "whole", "useful"), [(10, 1000, 16), (10, 80, 8), (100, 100, 4)])
def test_most_of_what_a_path_bears_is_found(per_stream: float, whole: float, useful: int) -> None:
    control = StreamControl()
    path = long_path(per_stream, whole)
    limits = watch(control, path, 40)
    assert limits.count(useful) > 20
    brought = sum(map(path, limits)) / len(limits)
    assert brought >= 0.9 * min(whole, per_stream * MAX_STREAMS)


def test_a_failure_halves_them_and_one_stream_is_left_whatever_happens() -> None:
    control = StreamControl()
    watch(control, long_path(10, 10_000), 3)
    limits = []
    for _ in range(6):
        control.observe(1.0, 3)
        limits.append(control.limit)
    assert limits == [8, 4, 2, 1, 1, 1]


def test_a_path_that_becomes_crowded_halves_them() -> None:
    control = StreamControl()
    watch(control, long_path(10, 160), 4)
    assert control.limit == 16
    control.observe(60, 0)
    assert control.limit == 8


def test_a_cap_holds_from_the_beginning() -> None:
    control = StreamControl(most=2)
    assert control.limit == 2
    assert set(watch(control, long_path(10, 10_000), 9)) == {2}


def test_under_a_limit_that_one_stream_reaches_it_stays_one() -> None:
    control = useful_streams(is_limited=True).control
    assert control.limit == 1
    assert watch(control, long_path(10_000, 100), 1 + HOLD_WINDOWS) == [2] + [1] * HOLD_WINDOWS


def test_under_a_limit_that_one_stream_does_not_reach_there_are_more() -> None:
    assert watch(useful_streams(is_limited=True).control, long_path(10, 80), 5) == [2, 4, 8, 16, 8]


@pytest.mark.parametrize(("flags", "streams"), [([], START_STREAMS), (["--max-rate=50M"], 1)])
def test_a_command_begins_with_one_stream_where_it_is_told_a_limit(flags: list[str], streams: int) -> None:
    command, found = typer.Typer(), []

    @command.command()
    def move(context: typer.Context, max_rate: options.MaxRate = None) -> None:
        found.append(options.choose_streams(context, 4, None, max_rate))

    assert CliRunner().invoke(command, flags).exit_code == 0
    (chosen,) = found
    assert isinstance(chosen, Streams)
    assert chosen.control.limit == streams


class Clock:
    """Time that goes on when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_window_in_which_streams_lacked_parts_says_nothing() -> None:
    clock = Clock()
    streams = Streams(StreamControl(), clock)
    assert streams.begin(is_first=True)
    streams.watch()
    for _ in range(5):
        streams.move(MIB)
        clock.now += WINDOW_SECONDS
        streams.watch()
    assert streams.control.limit == START_STREAMS
    for _ in range(START_STREAMS - 1):
        assert streams.begin(is_first=False)
    for _ in range(2):
        streams.watch()
        streams.move(MIB)
        clock.now += WINDOW_SECONDS
    streams.watch()
    assert streams.control.limit == 2 * START_STREAMS


def test_every_file_has_one_stream_and_no_more_where_the_limit_is_reached() -> None:
    streams = Streams(StreamControl(most=2, limit=2))
    assert [streams.begin(is_first=True) for _ in range(3)] == [True, True, True]
    assert not streams.begin(is_first=False)
    assert streams.end_surplus()
    assert not streams.end_surplus()
    assert streams.running == 2


class Carriers:
    """Streams that take parts until none is left, all at one gate; `take_part` may fail."""

    def __init__(self, streams: Streams) -> None:
        self.moved: list[int] = []
        self.most_at_once = self.at_once = 0
        self.gate = threading.Event()
        self.take_part: Callable[[int], None] = lambda _: None
        self._lock, self._streams = threading.Lock(), streams

    def run(self, parts: Parts) -> None:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
            if self.at_once == self._streams.control.limit:
                self.gate.set()
        self.gate.wait(60)
        try:
            while (number := parts.take()) is not None:
                self.take_part(number)
                with self._lock:
                    self.moved.append(number)
        finally:
            with self._lock:
                self.at_once -= 1


def test_a_file_gets_as_many_streams_as_there_may_be_and_every_part_goes_once() -> None:
    streams = Streams(StreamControl())
    carriers = Carriers(streams)
    run_streams(PartQueue(range(1, 101)), streams, carriers.run)
    assert sorted(carriers.moved) == list(range(1, 101))
    assert carriers.most_at_once == START_STREAMS
    assert streams.running == 0


def test_a_stream_that_fails_for_good_ends_all_and_is_counted_out() -> None:
    streams = Streams(StreamControl())
    carriers = Carriers(streams)

    def fail(number: int) -> None:
        if number == 7:
            raise OSError("gone")

    carriers.take_part = fail
    with pytest.raises(OSError, match="gone"):
        run_streams(PartQueue(range(1, 1000)), streams, carriers.run)
    assert len(carriers.moved) < 999
    assert streams.running == 0


def test_parts_that_are_given_back_late_find_a_stream() -> None:
    streams = Streams(StreamControl(most=1))
    given_back: list[int] = []

    def run(parts: Parts) -> None:
        while (number := parts.take()) is not None:
            if not given_back:
                given_back.append(number)
                parts.give_back([number])
                return

    queue = PartQueue([1, 2, 3])
    run_streams(queue, streams, run)
    assert len(queue) == 0


def test_a_surplus_stream_takes_no_more_and_gives_back_what_it_has() -> None:
    queue, streams = PartQueue([1, 2]), Streams(StreamControl())
    share = Share(queue, streams)
    assert share.take() == 1
    share.is_surplus = True
    assert (share.take(), len(share)) == (None, 0)
    share.give_back([1])
    assert queue.waiting == [1, 2]


def test_bytes_are_counted_on_their_way_to_the_listener() -> None:
    seen: list[int] = []

    class Seen(Listener):
        def move(self, size_bytes: int) -> None:
            seen.append(size_bytes)

    streams = Streams(StreamControl())
    metered(Seen(), streams).move(5)
    listener = Seen()
    assert metered(listener, 3) is listener
    assert (seen, streams._moved_bytes) == ([5], 5)


def test_what_many_ask_at_once_is_one_call_and_each_gets_its_own_answer() -> None:
    calls: list[int] = []
    first, everybody = threading.Event(), threading.Event()

    def call(items: object) -> list[int]:
        numbers = list(items)  # type: ignore[call-overload]  # a sequence
        calls.append(len(numbers))
        first.set()
        everybody.wait(60)
        return [number * 10 for number in numbers]

    gathering: Gathering[int, int] = Gathering(call, 8)
    answers: dict[int, int] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: gathering.ask(n)})) for n in range(20)]
    threads[0].start()
    assert first.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(gathering._waiting) < 19:
        threading.Event().wait(0.01)
    everybody.set()
    for thread in threads:
        thread.join(60)
    assert answers == {number: number * 10 for number in range(20)}
    assert calls == [1, 8, 8, 3]


def test_a_call_that_fails_fails_for_those_whose_item_was_in_it_and_the_next_is_made() -> None:
    def call(items: object) -> list[str]:
        if 13 in items:  # type: ignore[operator]  # a sequence
            raise OSError("thirteen")
        return ["well"]

    gathering: Gathering[int, str] = Gathering(call, 8)
    with pytest.raises(OSError, match="thirteen"):
        gathering.ask(13)
    assert gathering.ask(1) == "well"


class Watched(Streams):
    """Remembers how many there were at most."""

    most_at_once = 0

    def begin(self, *, is_first: bool) -> bool:
        """Count."""
        has_begun = super().begin(is_first=is_first)
        self.most_at_once = max(self.most_at_once, self.running)
        return has_begun


@pytest.fixture
def far_score(world: World) -> Iterator[str]:
    """The address of a Score that is 50 ms away."""
    host, _, port = world.score.address.rpartition(":")
    path = DelayProxy((host, int(port)), 0.05, MIB)
    yield f"127.0.0.1:{path.port}"
    path.close()


def test_a_far_server_gets_several_streams_up_and_down(world: World, far_score: str, tmp_path: Path) -> None:
    data = world.register("object-1", random_bytes(8 * PART))
    world.start("object-1")
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    up, down = Watched(StreamControl()), Watched(StreamControl())
    with ScoreClient.open(far_score) as score:
        upload_file(score, "object-1", file, state_dir=tmp_path / "state", streams=up)
        found = download_object(score, "object-1", tmp_path / "out", allow_unpublished=True, streams=down)
        assert score.connection.round_trip_seconds >= 0.1
    assert found.path.read_bytes() == data
    assert START_STREAMS <= up.most_at_once <= MAX_STREAMS
    assert START_STREAMS <= down.most_at_once <= MAX_STREAMS
    assert up.running == down.running == 0


def test_a_range_and_a_repair_over_a_long_path_take_several_streams(
    world: World, far_score: str, tmp_path: Path
) -> None:
    data = random_bytes(8 * PART)
    world.store("object-1", data)
    ranged, mended = Watched(StreamControl()), Watched(StreamControl())
    target = tmp_path / "range"
    copy = tmp_path / "object-1.bam"
    copy.write_bytes(data[: PART // 2] + bytes(5 * PART) + data[PART // 2 + 5 * PART : -7])
    with ScoreClient.open(far_score) as score:
        stored = score.get_object("object-1", allow_unpublished=True)
        result = download_range(score, stored, target, 3, 7 * PART, streams=ranged, allow_unpublished=True)
        again = download_range(score, stored, target, 3, 7 * PART, streams=ranged, allow_unpublished=True)
        repaired = repair_file(score, "object-1", copy, streams=mended, allow_unpublished=True)
    assert target.read_bytes() == data[3 : 7 * PART + 3]
    assert (result.fetched_bytes, again.fetched_bytes) == (7 * PART, 0)
    assert repaired.check.bad_parts == (1, 2, 3, 4, 5, 6, 8)
    assert copy.read_bytes() == data
    assert START_STREAMS <= ranged.most_at_once <= MAX_STREAMS
    assert START_STREAMS <= mended.most_at_once <= MAX_STREAMS
    assert ranged.running == mended.running == 0


def test_a_range_by_signed_urls_takes_several_at_once(open_world: Callable[..., World], tmp_path: Path) -> None:
    world = open_world(http_port=0)
    data = random_bytes(4 * PART)
    world.store("object-1", data)
    with ScoreClient(Connection("score", world.score.address, transport=Transport.SIGNED)) as score:
        stored = score.get_object("object-1", allow_unpublished=True)
        download_range(score, stored, tmp_path / "range", 5, 3 * PART, streams=3, allow_unpublished=True)
    assert (tmp_path / "range").read_bytes() == data[5 : 3 * PART + 5]


def test_a_part_that_is_damaged_in_the_store_ends_a_range_of_several_streams_and_is_named(
    world: World, far_score: str, tmp_path: Path
) -> None:
    world.store("object-1", random_bytes(6 * PART))
    (kept,) = [
        path for path in world.settings.data_dir.rglob("*") if path.is_file() and path.stat().st_size == 6 * PART
    ]
    with kept.open("r+b") as file:
        file.seek(2 * PART + 9)
        file.write(b"?")
    with ScoreClient.open(far_score) as score:
        stored = score.get_object("object-1", allow_unpublished=True)
        with pytest.raises(StoredBytesCorruptError, match=f"from {2 * PART} to {3 * PART}"):
            download_range(score, stored, tmp_path / "range", 0, 6 * PART, streams=3, allow_unpublished=True)
    assert not (tmp_path / "range").exists()


def test_a_near_server_gets_one_stream_a_file(world: World, tmp_path: Path) -> None:
    data = world.register("object-1", random_bytes(3 * PART))
    world.start("object-1")
    file = tmp_path / "reads.bam"
    file.write_bytes(data)
    streams = Watched(StreamControl())
    with ScoreClient.open(world.score.address) as score:
        score.connection._round_trip_seconds = 0.001  # a busy machine may seem far
        upload_file(score, "object-1", file, state_dir=tmp_path / "state", streams=streams)
    assert streams.most_at_once == 0
