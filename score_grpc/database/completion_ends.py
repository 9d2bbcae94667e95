"""How completions end, for the audit: a row in the very transaction that ends one, so that each end has just one."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from score_grpc.database.audit import add_entries
from score_grpc.domain.audit import Asker, AuditEntry, cut_facts
from score_grpc.domain.stored_objects import StoredObject

_NOBODY = Asker("service")
"""Where it is not known who asked: Score itself goes on with what was begun before askers were kept."""


def asker_json(asker: Asker) -> str:
    """Return the column's value."""
    return json.dumps({"principal": asker.principal, "facts": cut_facts(asker.facts)})


def note_end(connection: Connection, upload: Row[Any], result: str, **facts: str) -> None:
    """Keep that this upload's completion ended, in the name of who asked for it."""
    asker = Asker(**json.loads(upload.completion_asker_json)) if upload.completion_asker_json else _NOBODY
    add_entries(connection, [_entry(asker, upload, result, **facts)])


def note_visible(connection: Connection, objects: Sequence[StoredObject], asker: Asker) -> None:
    """Keep that these objects became visible, each by an upload that was begun and completed in one go."""
    add_entries(connection, [_entry(asker, stored, "OK", generation=str(stored.generation)) for stored in objects])


def _entry(asker: Asker, item: Row[Any] | StoredObject, result: str, **facts: str) -> AuditEntry:
    told = {"upload_id": item.upload_id, **facts, **asker.facts}
    return AuditEntry(datetime.now(UTC), asker.principal, "complete", item.object_id, item.study_id, result, told)
