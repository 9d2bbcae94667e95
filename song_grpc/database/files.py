"""Files of analyses in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from song_grpc.database.batches import in_batches
from song_grpc.database.tables import analyses, files
from song_grpc.domain import paging
from song_grpc.domain.analysis import AnalysisState, File, FileAccess


def add(connection: Connection, added: Sequence[File]) -> None:
    """Store the files of a new analysis."""
    connection.execute(insert(files), [_row_of(file) for file in added])


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


def resolve(connection: Connection, object_ids: Sequence[str]) -> dict[str, tuple[File, AnalysisState]]:
    """Return the files of these object ids without their info, each with the state of its analysis."""
    columns = [column for column in files.c if column is not files.c.info_json]
    joined = select(*columns, analyses.c.state).join_from(files, analyses)
    found: dict[str, tuple[File, AnalysisState]] = {}
    for batch in in_batches(object_ids):
        for row in connection.execute(joined.where(files.c.object_id.in_(batch))):
            found[row.object_id] = (_file(row, info_json=""), AnalysisState(row.state))
    return found


def find_holders(connection: Connection, study_id: str, md5s: Iterable[str]) -> dict[str, set[str]]:
    """Return, by MD5, the analyses of the study that are not SUPPRESSED and have a file with it."""
    holders: dict[str, set[str]] = {}
    joined = select(files.c.md5, files.c.analysis_id).join_from(files, analyses).distinct()
    for batch in in_batches(md5s):
        query = joined.where(
            files.c.study_id == study_id,
            files.c.md5.in_(batch),
            analyses.c.state != AnalysisState.SUPPRESSED.value,
        )
        for row in connection.execute(query):
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
