"""Parallel streams of one transfer, each started again when it breaks, as long as it gets on."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import grpc

from song_score_client.connection import CallMetadata, Connection, open_channel
from song_score_client.errors import PartTakenOverError, ServiceError, UnavailableError, from_rpc_error
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.parts import PartQueue

_BROKEN = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED}
"""What a stream ends with, without a reason of the contract, when a peer or a proxy dies under it."""


class Stream(Protocol):
    """One stream of a transfer."""

    finished_total: int
    """Parts finished so far."""

    def run(self, channel: grpc.Channel, metadata: CallMetadata) -> None:
        """Move parts until none is left or the stream breaks. Raises grpc.RpcError, ClientError."""


def run_streams(queue: PartQueue, most: int, run_stream: Callable[[], None]) -> None:
    """Run as many streams as make sense, at most `most`, until the queue is empty. Raises what ends the transfer."""
    total = min(most, len(queue))
    try:
        if total == 1:
            run_stream()
        elif total:
            with ThreadPoolExecutor(total, "stream") as pool:
                try:
                    for running in [pool.submit(run_stream) for _ in range(total)]:
                        running.result()
                except BaseException:
                    queue.stop()  # before the pool waits for the others
                    raise
    finally:
        queue.stop()


def keep_streaming(
    connection: Connection, queue: PartQueue, make_stream: Callable[[], Stream], listener: Listener
) -> None:
    """Run one stream after the other, on a connection of their own, until the queue is empty or stopped.

    A stream that breaks is followed by another after a pause, as often as parts get finished; without progress, the
    connection's retry policy ends it. Raises ServiceError, ClientError.
    """
    channel = open_channel(connection.address)
    failures = 0
    try:
        while len(queue) and not queue.is_stopped:
            stream = make_stream()
            error: ServiceError | None = None
            try:
                stream.run(channel, connection.metadata)
            except grpc.RpcError as raised:
                if queue.is_stopped:
                    return
                error = from_rpc_error(raised, connection.service, connection.address)
                if not may_go_on(error):
                    raise error from raised
            failures = 0 if stream.finished_total else failures + 1
            if error is not None or failures:
                pause(connection, error or no_progress(connection), failures, listener)
    finally:
        channel.close()


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
    listener.say(f"{error}; going on in {delay:.1f} s")
    time.sleep(delay)
