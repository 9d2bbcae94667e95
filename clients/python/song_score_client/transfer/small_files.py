"""What sending and fetching small files together have in common: which files, and which are tried again.

A file that is small costs more in calls than in bytes. So files up to SMALL_FILE_BYTES go over one stream, one behind
the other; a file that is refused does not hold up the others, and a stream that breaks is followed by another one, with
those that have no answer yet. What can't be dealt with so is left to the ordinary way, which knows it all.
"""

from collections import Counter
from collections.abc import Callable

from song_score_client.connection import Connection
from song_score_client.errors import ServiceError, UnimplementedError
from song_score_client.transfer.batch import Members, Receipt
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.parts import PartQueue
from song_score_client.transfer.streams import Stream, StreamsBlockedError, keep_streaming

SMALL_FILE_BYTES = 1024 * 1024
"""A larger file is moved by itself."""
FILES_PER_CALL = 500
"""As the contract bounds what is announced, or asked for, at once."""


class SmallFiles:
    """The files of one group while they are moved: who waits for what. Files go by their numbers in the batch."""

    def __init__(self, connection: Connection, members: Members) -> None:
        self.members = members
        self._connection = connection
        self._tries: Counter[int] = Counter()

    def end(self, number: int, result: Receipt | Exception) -> None:
        """Say how a file fared."""
        self.members.end(number, result)

    def is_refused(self, number: int, error: ServiceError) -> bool:
        """Whether this error is the file's end; else it is to be tried once more."""
        self._tries[number] += 1
        if error.is_transient and self._tries[number] < self._connection.retry.max_tries:
            self.members.listener(number).say(f"{error}; trying again")
            return False
        self.end(number, error)
        return True

    def keep_streaming(self, queue: PartQueue, make_stream: Callable[[], Stream]) -> None:
        """Run one stream after the other until the queue is empty. Raises ServiceError.

        Where streams don't get through, or the server knows none of this kind, what is left is left.
        """
        try:
            keep_streaming(self._connection, queue, lambda _: make_stream(), _Speaker(self.members))
        except (UnimplementedError, StreamsBlockedError):
            return
        finally:
            queue.stop()


class _Speaker(Listener):
    """Says what concerns all files in the name of the first one."""

    def __init__(self, members: Members) -> None:
        self._members = members

    def say(self, message: str) -> None:
        number = next(iter(self._members.left), None)
        if number is not None:
            self._members.listener(number).say(message)

    def wait(self, error: Exception, delay_seconds: float) -> None:
        number = next(iter(self._members.left), None)
        if number is not None:
            self._members.listener(number).wait(error, delay_seconds)
