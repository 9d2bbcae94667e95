"""What use cases work with."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from song_grpc.database.engine import Database
from song_grpc.gateways.stored_objects import StoredObjects


@dataclass(frozen=True, slots=True)
class Environment:
    """Song's database, its sister and its rules."""

    database: Database
    stored_objects: StoredObjects
    enforce_latest: bool
    """Only the latest version of a type may be submitted to or published."""
    now: Callable[[], datetime]
    """The time, UTC."""
    draining: threading.Event
    """Set once the server is to stop: long streams end soon."""
