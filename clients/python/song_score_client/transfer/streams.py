"""Parallel streams of one transfer, each started again when it breaks, as long as it gets on."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

import grpc

from song_score_client.connection import CallMetadata, Connection, open_channel
from song_score_client.errors import (
    PartTakenOverError,
    ServiceError,
    SigningUnsupportedError,
    UnavailableError,
    from_rpc_error,
)
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.parallelism import MAX_STREAMS, Share, Streams
from song_score_client.transfer.parts import PartQueue, Parts
from song_score_client.transports import Transport

NEAR_SECONDS = 0.02
"""A round trip shorter than this leaves one stream nothing to wait for."""
LOOK_SECONDS = 0.25
"""How often it is looked at whether there should be more streams, or fewer."""
BLOCKED_FAILURES = 3
"""Streams that end in a row, before it is asked whether a proxy is in their way."""
_SERVICE = "score.v1.UploadService"
_BROKEN = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED}
"""What a stream ends with, without a reason of the contract, when a peer or a proxy dies under it."""


class Stream(Protocol):
    """One stream of a transfer."""

    finished_total: int
    """Parts finished so far."""

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Move parts until none is left or the stream breaks. Raises grpc.RpcError, ClientError."""


class StreamsBlockedError(UnavailableError):
    """Calls get through to Score, and streams do not: signed URLs may."""


def move_parts(
    connection: Connection,
    part_numbers: Iterable[int],
    streams: int | Streams,
    by_stream: Callable[[Parts], None],
    by_url: Callable[[Parts], None],
    listener: Listener,
) -> None:
    """Move parts in the way that the connection's transport has. Raises what ends the transfer.

    Where it may be chosen, signed URLs are taken for what streams could not carry.
    """
    queue, blocked = PartQueue(part_numbers), None
    if connection.carries_streams:
        try:
            run_streams(queue, choose_streams(connection, streams), by_stream)
        except StreamsBlockedError as error:
            connection.give_up_streams()
            listener.say(f"{error}: calls get through, and streams do not; going on by signed URLs")
            queue, blocked = PartQueue(queue.waiting), error
    try:
        run_streams(queue, streams, by_url)
    except SigningUnsupportedError:
        if blocked is not None:
            raise blocked from None
        raise


def choose_streams(connection: Connection, streams: int | Streams) -> int | Streams:
    """Return how many streams a file has. To a server that is near one brings all there is, in the parts' order."""
    return streams if isinstance(streams, int) or connection.round_trip_seconds >= NEAR_SECONDS else 1


def run_streams(queue: PartQueue, streams: int | Streams, run_stream: Callable[[Parts], None]) -> None:
    """Run streams until the queue is empty: so many, or as many as prove useful. Raises what ends the transfer."""
    total = min(streams, len(queue)) if isinstance(streams, int) else len(queue)
    try:
        if isinstance(streams, int) and total == 1:
            run_stream(queue)
        elif isinstance(streams, int) and total:
            with ThreadPoolExecutor(total, "stream") as pool, _stopping(queue):
                for running in [pool.submit(run_stream, queue) for _ in range(total)]:
                    running.result()
        elif total:
            with ThreadPoolExecutor(MAX_STREAMS, "stream") as pool, _stopping(queue):
                _run_as_useful(queue, streams, lambda share: pool.submit(run_stream, share))  # type: ignore[arg-type]  # no int
    finally:
        queue.stop()


@contextmanager
def _stopping(queue: PartQueue) -> Iterator[None]:
    """Stop the queue where something fails, before a pool waits for its threads."""
    try:
        yield
    except BaseException:
        queue.stop()
        raise


def _run_as_useful(queue: PartQueue, streams: Streams, start: Callable[[Share], Future[None]]) -> None:
    running: dict[Future[None], Share] = {}
    try:
        while running or len(queue):
            while len(queue) and streams.begin(is_first=not running):
                share = Share(queue, streams)
                running[start(share)] = share
            if len(running) > 1 and streams.end_surplus():
                next(share for share in running.values() if not share.is_surplus).is_surplus = True
            for future in wait(running, LOOK_SECONDS, FIRST_COMPLETED).done:
                if not running.pop(future).is_surplus:
                    streams.end()
                future.result()
            streams.watch()
    finally:
        for share in running.values():
            if not share.is_surplus:
                streams.end()


def keep_streaming(
    connection: Connection, queue: Parts, make_stream: Callable[[Parts], Stream], listener: Listener
) -> None:
    """Run one stream after the other, on a connection of their own, until the queue is empty or stopped.

    A stream that breaks is followed by another after a pause, as often as parts get finished; without progress, the
    connection's retry policy ends it. Raises ServiceError, ClientError; StreamsBlockedError where signed URLs are
    allowed, and no stream has brought a part through though calls are answered.
    """
    channel = open_channel(connection.address)
    failures, blocked, has_progress = 0, 0, False
    try:
        while len(queue) and not queue.is_stopped:
            stream = make_stream(queue)
            error: ServiceError | None = None
            try:
                stream.run(channel, connection.metadata)
            except grpc.RpcError as raised:
                if queue.is_stopped:
                    return
                error = from_rpc_error(raised, connection.service, connection.address)
                if not may_go_on(error):
                    raise error from raised
                queue.fail()
            failures = 0 if stream.finished_total else failures + 1
            has_progress = has_progress or stream.finished_total > 0
            # Calls must be answered each time: a server that was away, and is there again, blocks nothing.
            blocked = blocked + 1 if not has_progress and failures and _is_blocked(connection, error) else 0
            if blocked >= BLOCKED_FAILURES:
                raise StreamsBlockedError(str(error), service=connection.service, code=grpc.StatusCode.UNAVAILABLE)
            if error is not None or failures:
                pause(connection, error or no_progress(connection), failures, listener)
    finally:
        channel.close()


def _is_blocked(connection: Connection, error: ServiceError | None) -> bool:
    """Whether a proxy is in the way of streams alone, and there may be another way."""
    is_transport = error is not None and not error.reason
    return is_transport and connection.transport is Transport.AUTO and connection.is_serving(_SERVICE)


def may_go_on(error: ServiceError) -> bool:
    """Whether a stream that ended so may be followed by another."""
    is_broken = not error.reason and error.code in _BROKEN
    return error.is_transient or is_broken or isinstance(error, PartTakenOverError)


def no_progress(connection: Connection) -> ServiceError:
    """Return the error of streams that end in good order with nothing done."""
    text = f"Score at {connection.address} ends streams without taking or giving a part"
    return UnavailableError(text, service=connection.service, code=grpc.StatusCode.UNAVAILABLE)


def pause(connection: Connection, error: ServiceError, failures: int, listener: Listener) -> None:
    """Wait before the next stream after so many failures in a row. Raises the error where another is no use."""
    retry = connection.retry
    if failures >= retry.max_tries:
        raise error
    asked = retry.delay_seconds(max(failures, 1), error)
    delay = retry.first_delay_seconds * 2**failures if asked is None else asked
    listener.wait(error, delay)
    time.sleep(delay)
