"""The engine that Song's queries and use cases run on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from runtime_grpc import database
from runtime_grpc.database import DatabaseUnavailableError

__all__ = ["MIGRATIONS", "Connection", "Database", "DatabaseUnavailableError", "note_event"]

MIGRATIONS = "song_grpc.database:migrations"
_NOTE = "song has an event"


class Database(database.Database):
    """Tells, too, when a transaction with an event has been committed."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.on_event: Callable[[], None] = lambda: None
        """Called after such a commit, in the thread that committed: it must be quick, and must not fail."""

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Open a writing transaction; see the base."""
        noted = False
        with super().write(durable=durable) as connection:
            connection.info.pop(_NOTE, None)  # of a transaction on the same connection that was rolled back
            yield connection
            noted = connection.info.pop(_NOTE, False)
        if noted:
            self.on_event()


def note_event(connection: Connection) -> None:
    """Note that this transaction stores an event."""
    connection.info[_NOTE] = True
