"""How completions end, for the audit: a row in the very transaction that ends one, so that each end has just one."""

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from score_grpc.database.audit import add_entries
from score_grpc.domain.audit import Asker, AuditEntry, cut_facts

_NOBODY = Asker("service")
"""Where it is not known who asked: Score itself goes on with what was begun before askers were kept."""


def asker_json(asker: Asker) -> str:
    """Return the column's value."""
    return json.dumps({"principal": asker.principal, "facts": cut_facts(asker.facts)})


def note_end(connection: Connection, upload: Row[Any], result: str, **facts: str) -> None:
    """Keep that this upload's completion ended, in the name of who asked for it."""
    asker = Asker(**json.loads(upload.completion_asker_json)) if upload.completion_asker_json else _NOBODY
    told = {"upload_id": upload.upload_id, **facts, **asker.facts}
    entry = AuditEntry(datetime.now(UTC), asker.principal, "complete", upload.object_id, upload.study_id, result, told)
    add_entries(connection, [entry])
