"""Studies in SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from song_grpc.database.tables import studies
from song_grpc.database.times import from_microseconds, to_microseconds
from song_grpc.domain import paging
from song_grpc.domain.study import Study, StudyVisibility

_ONE = select(studies.c.study_id).where(studies.c.study_id == bindparam("study_id"))


def add(connection: Connection, study: Study) -> None:
    """Store a new study."""
    connection.execute(
        insert(studies).values(
            study_id=study.study_id,
            name=study.name,
            organization=study.organization,
            description=study.description,
            info_json=study.info_json,
            create_time=to_microseconds(study.create_time),
            wire_bytes=study.wire_bytes,
            visibility=study.visibility.value,
        )
    )


def exists(connection: Connection, study_id: str) -> bool:
    """Say whether there is such a study."""
    return connection.scalar(_ONE, {"study_id": study_id}) is not None


def find_visibility(connection: Connection, study_id: str) -> StudyVisibility | None:
    """Return the visibility of a study, None if there is none."""
    found = connection.scalar(select(studies.c.visibility).where(studies.c.study_id == study_id))
    return None if found is None else StudyVisibility(found)


def save(connection: Connection, study: Study) -> None:
    """Store the new values of a study."""
    values = {name: getattr(study, name) for name in ("name", "organization", "description", "info_json", "wire_bytes")}
    query = update(studies).where(studies.c.study_id == study.study_id)
    connection.execute(query.values(visibility=study.visibility.value, **values))


def find(connection: Connection, study_id: str, *, lock: bool = False) -> Study | None:
    """Return the study, None if there is none; `lock` keeps others from changing it, or what it owns."""
    query = select(studies).where(studies.c.study_id == study_id)
    # Rows that refer to the study may still be added meanwhile.
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else _study(row)


def list_after(connection: Connection, after: str | None, limit: int) -> Sequence[paging.Row]:
    """Return the rows that follow a study id, in the order of ids."""
    query = select(studies.c.study_id, studies.c.wire_bytes).order_by(studies.c.study_id).limit(limit)
    if after is not None:
        query = query.where(studies.c.study_id > after)
    return [paging.Row((row.study_id,), row.wire_bytes) for row in connection.execute(query)]


def read(connection: Connection, first: str, last: str) -> Sequence[Study]:
    """Return the studies between two ids, both included, in the order of ids."""
    query = select(studies).where(studies.c.study_id.between(first, last)).order_by(studies.c.study_id)
    return [_study(row) for row in connection.execute(query)]


def _study(row: Row[Any]) -> Study:
    return Study(
        study_id=row.study_id,
        name=row.name,
        organization=row.organization,
        description=row.description,
        info_json=row.info_json,
        create_time=from_microseconds(row.create_time),
        visibility=StudyVisibility(row.visibility),
    )
