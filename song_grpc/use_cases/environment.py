"""What use cases work with."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from song_grpc.database.engine import Database
from song_grpc.gateways.entity_ids import EntityIds
from song_grpc.gateways.external_sources import ExternalSources
from song_grpc.gateways.stored_objects import StoredObjects
from song_grpc.use_cases.submission_writer import SubmissionWriter


@dataclass(frozen=True, slots=True)
class Environment:
    """Song's database, the services it asks and its rules."""

    database: Database
    stored_objects: StoredObjects
    external_sources: ExternalSources
    entity_ids: EntityIds | None
    """The id service; None where ids are derived here."""
    enforce_latest: bool
    """Only the latest version of a type may be submitted to or published."""
    now: Callable[[], datetime]
    """The time, UTC."""
    draining: threading.Event
    """Set once the server is to stop: long streams end soon."""
    submissions: SubmissionWriter
