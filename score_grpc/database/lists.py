"""Lists of uploads and of objects, newest first, a page at a time. Each method is one transaction."""

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, func, select, tuple_

from runtime_grpc.database import Database
from score_grpc.database.rows import microseconds, object_from, upload_from
from score_grpc.database.tables import IS_UNFREED, IS_VERIFYING, OBJECTS, RETIRED_KEYS, UPLOAD_PARTS, UPLOADS
from score_grpc.domain.paging import Place
from score_grpc.domain.stored_objects import ObjectFilter, StoredObject
from score_grpc.domain.uploads import Upload, UploadFilter, UploadState


class Lists:
    """Reads pages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def objects(self, wanted: ObjectFilter, after: Place | None, limit: int) -> Sequence[StoredObject]:
        """Return objects that come after this place, at most `limit`."""
        columns = OBJECTS.c
        conditions: list[ColumnElement[bool]] = []
        if wanted.study_id:
            conditions.append(columns.study_id == wanted.study_id)
        if wanted.analysis_id:
            conditions.append(columns.analysis_id == wanted.analysis_id)
        if wanted.verification is not None:
            conditions.append(columns.verification == wanted.verification.value)
        if wanted.created_from is not None:
            conditions.append(columns.create_time >= microseconds(wanted.created_from))
        if wanted.created_before is not None:
            conditions.append(columns.create_time < microseconds(wanted.created_before))
        if after is not None:
            conditions.append(tuple_(columns.create_time, columns.object_id) < after)
        newest_first = (columns.create_time.desc(), columns.object_id.desc())
        with self._database.read() as connection:
            rows = connection.execute(select(OBJECTS).where(*conditions).order_by(*newest_first).limit(limit))
            return [object_from(row) for row in rows]

    def count_work(self) -> dict[str, int]:
        """Return how much waits, or is under way: completions, verifications, uploads to free, retired keys."""
        is_completing = UPLOADS.c.state == UploadState.COMPLETING.value
        waiting = {
            "completions_waiting": select(func.count()).select_from(UPLOADS).where(is_completing),
            "verifications_waiting": select(func.count()).select_from(OBJECTS).where(IS_VERIFYING),
            "uploads_to_free": select(func.count()).select_from(UPLOADS).where(IS_UNFREED),
            "retired_keys": select(func.count()).select_from(RETIRED_KEYS),
        }
        with self._database.read() as connection:
            return {name: connection.execute(query).scalar_one() for name, query in waiting.items()}

    def uploads(self, wanted: UploadFilter, after: Place | None, limit: int) -> Sequence[Upload]:
        """Return uploads that come after this place, at most `limit`, with the totals of their parts."""
        columns = UPLOADS.c
        conditions: list[ColumnElement[bool]] = [columns.state.in_(sorted(state.value for state in wanted.states))]
        if wanted.study_id:
            conditions.append(columns.study_id == wanted.study_id)
        if wanted.analysis_id:
            conditions.append(columns.analysis_id == wanted.analysis_id)
        if wanted.object_id:
            conditions.append(columns.object_id == wanted.object_id)
        if after is not None:
            conditions.append(tuple_(columns.create_time, columns.upload_id) < after)
        newest_first = (columns.create_time.desc(), columns.upload_id.desc())
        parts = UPLOAD_PARTS.c
        with self._database.read() as connection:
            rows = connection.execute(select(UPLOADS).where(*conditions).order_by(*newest_first).limit(limit))
            uploads = [upload_from(row) for row in rows]
            totals = connection.execute(
                select(parts.upload_id, func.count(), func.sum(parts.size_bytes))
                .where(parts.upload_id.in_([upload.upload_id for upload in uploads]))
                .group_by(parts.upload_id)
            )
            known = {upload_id: (total, int(size_bytes)) for upload_id, total, size_bytes in totals}
        return [
            replace(upload, persisted_part_total=total, persisted_size_bytes=size_bytes)
            for upload in uploads
            for total, size_bytes in [known.get(upload.upload_id, (0, 0))]
        ]
