"""Files of analyses in SQL."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analyses, files
from song_grpc.database.times import to_microseconds
from song_grpc.domain import paging
from song_grpc.domain.analysis import AnalysisState, File, FileAccess
from song_grpc.domain.registered_object import ObjectConditions, RegisteredObject

# Made once: making a statement costs more than running one of these.
_HOLDERS = (
    select(files.c.md5, files.c.analysis_id)
    .join_from(files, analyses)
    .where(
        files.c.study_id == bindparam("study_id"),
        files.c.md5.in_(bindparam("md5s", expanding=True)),
        analyses.c.state != AnalysisState.SUPPRESSED.value,
    )
    .distinct()
)
_NEW = insert(files)


def add(connection: Connection, added: Sequence[File]) -> None:
    """Store the files of new analyses."""
    connection.execute(_NEW, [_row_of(file) for file in added])


def save(connection: Connection, file: File) -> None:
    """Store the new values of a file."""
    connection.execute(update(files).where(files.c.object_id == file.object_id).values(_row_of(file)))


def remove(connection: Connection, object_ids: Iterable[str]) -> None:
    """Delete files. Nothing refers to them but their analysis."""
    for batch in in_batches(object_ids):
        connection.execute(delete(files).where(files.c.object_id.in_(batch)))


def find(connection: Connection, study_id: str, object_id: str) -> tuple[File, AnalysisState] | None:
    """Return a file with the state of its analysis, None if the study has no such file."""
    query = select(*files.c, analyses.c.state).join_from(files, analyses, analyses.c.analysis_id == files.c.analysis_id)
    row = connection.execute(query.where(files.c.object_id == object_id, files.c.study_id == study_id)).one_or_none()
    return None if row is None else (_file(row), AnalysisState(row.state))


def read_of(connection: Connection, analysis_ids: Iterable[str]) -> dict[str, list[File]]:
    """Return the files of each of these analyses, by file name."""
    found: dict[str, list[File]] = {}
    for batch in in_batches(analysis_ids):
        query = select(files).where(files.c.analysis_id.in_(batch)).order_by(files.c.analysis_id, files.c.file_name)
        for row in connection.execute(query):
            found.setdefault(row.analysis_id, []).append(_file(row))
    return found


def list_after(connection: Connection, analysis_id: str, after: str | None, limit: int) -> Sequence[paging.Row]:
    """Return the rows that follow a file name, by file name."""
    query = select(files.c.file_name, files.c.wire_bytes).where(files.c.analysis_id == analysis_id)
    if after is not None:
        query = query.where(files.c.file_name > after)
    rows = connection.execute(query.order_by(files.c.file_name).limit(limit))
    return [paging.Row((row.file_name,), row.wire_bytes) for row in rows]


def read_between(connection: Connection, analysis_id: str, first: str, last: str) -> Sequence[File]:
    """Return the files of an analysis between two file names, both included, by file name."""
    query = select(files).where(files.c.analysis_id == analysis_id, files.c.file_name.between(first, last))
    return [_file(row) for row in connection.execute(query.order_by(files.c.file_name))]


def resolve(connection: Connection, object_ids: Sequence[str], now: datetime) -> dict[str, RegisteredObject]:
    """Return what is registered under these object ids."""
    found: dict[str, RegisteredObject] = {}
    for batch in in_batches(object_ids):
        for row in connection.execute(_registered().where(files.c.object_id.in_(batch))):
            found[row.object_id] = _registered_object(row, now)
    return found


def list_objects_after(
    connection: Connection, wanted: ObjectConditions, after: str | None, limit: int, now: datetime
) -> Sequence[RegisteredObject]:
    """Return the objects that follow an object id, in the order of ids: of the study and analysis wanted.

    Whether the other conditions hold is not looked at: what fits them can lie far apart.
    """
    query = _registered()
    if wanted.study_id is not None:
        query = query.where(files.c.study_id == wanted.study_id)
    if wanted.analysis_id is not None:
        query = query.where(files.c.analysis_id == wanted.analysis_id)
    if after is not None:
        query = query.where(files.c.object_id > after)
    rows = connection.execute(query.order_by(files.c.object_id).limit(limit))
    return [_registered_object(row, now) for row in rows]


def _registered() -> Select[Any]:
    columns = [column for column in files.c if column is not files.c.info_json]
    return select(*columns, analyses.c.state, analyses.c.publishing_until).join_from(
        files, analyses, analyses.c.analysis_id == files.c.analysis_id
    )


def _registered_object(row: Row[Any], now: datetime) -> RegisteredObject:
    until = row.publishing_until
    is_publishing = until is not None and until > to_microseconds(now)
    return RegisteredObject(_file(row, info_json=""), AnalysisState(row.state), is_publishing)


def find_holders(connection: Connection, study_id: str, md5s: Iterable[str]) -> dict[str, set[str]]:
    """Return, by MD5, the analyses of the study that are not SUPPRESSED and have a file with it."""
    holders: dict[str, set[str]] = {}
    for batch in in_batches(md5s):
        for row in connection.execute(_HOLDERS, {"study_id": study_id, "md5s": batch}):
            holders.setdefault(row.md5, set()).add(row.analysis_id)
    return holders


def _row_of(file: File) -> dict[str, Any]:
    return {
        "object_id": file.object_id,
        "study_id": file.study_id,
        "analysis_id": file.analysis_id,
        "file_name": file.file_name,
        "size_bytes": file.size_bytes,
        "file_type": file.file_type,
        "md5": file.md5,
        "access": file.access.value,
        "data_type": file.data_type,
        "info_json": file.info_json,
        "wire_bytes": file.wire_bytes,
    }


def _file(row: Any, info_json: str | None = None) -> File:  # noqa: ANN401 - a row of whichever columns
    return File(
        object_id=row.object_id,
        study_id=row.study_id,
        analysis_id=row.analysis_id,
        file_name=row.file_name,
        size_bytes=row.size_bytes,
        file_type=row.file_type,
        md5=row.md5,
        access=FileAccess(row.access),
        data_type=row.data_type,
        info_json=row.info_json if info_json is None else info_json,
    )
