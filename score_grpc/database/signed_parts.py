"""Parts that go straight to the store, by signed URLs. Each method is one transaction."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, bindparam, insert, select, update
from sqlalchemy import delete as sql_delete

from runtime_grpc.database import Database
from score_grpc.database.ledger import touch, upload_row
from score_grpc.database.rows import part_from, part_values, upload_from
from score_grpc.database.tables import UPLOAD_PARTS
from score_grpc.domain.uploads import UploadPart, require_open


class SignedParts:
    """Many parts of one upload at once, and what their bytes turned out to be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, upload_id: str, part_numbers: Collection[int]) -> dict[int, UploadPart]:
        """Return the persisted parts among these, by number."""
        with self._database.read() as connection:
            rows = connection.execute(select(UPLOAD_PARTS).where(_are(upload_id, part_numbers)))
            return {row.part_number: part_from(row) for row in rows}

    def withdraw(self, upload_id: str, part_numbers: Collection[int]) -> None:
        """Make parts absent again, before they are replaced. Raises UploadNotOpenError, UploadAbortedError."""
        with self._database.write(durable=False) as connection:
            require_open(upload_from(upload_row(connection, upload_id, lock=True)))
            connection.execute(sql_delete(UPLOAD_PARTS).where(_are(upload_id, part_numbers)))
            touch(connection, upload_id)

    def record(self, upload_id: str, parts: Sequence[UploadPart], epoch: int, staging_token: str) -> Collection[int]:
        """Record parts that the store holds in this staging; return their numbers.

        Not those that a newer stream has recorded, and none where the upload goes on in another staging. Raises
        UploadNotOpenError, UploadAbortedError.
        """
        numbers = {part.part_number for part in parts}
        with self._database.write(durable=False) as connection:
            upload = upload_from(upload_row(connection, upload_id, lock=True))
            require_open(upload)
            if upload.staging_token != staging_token:
                return set()
            newer = _are(upload_id, numbers) & (UPLOAD_PARTS.c.stream_epoch > epoch)
            numbers -= set(connection.execute(select(UPLOAD_PARTS.c.part_number).where(newer)).scalars())
            if numbers:
                connection.execute(sql_delete(UPLOAD_PARTS).where(_are(upload_id, numbers)))
                fields = {"upload_id": upload_id, "stream_epoch": epoch}
                rows = [fields | part_values(part) for part in parts if part.part_number in numbers]
                connection.execute(insert(UPLOAD_PARTS), rows)
                touch(connection, upload_id)
        return numbers

    def fill_digests(self, upload_id: str, parts: Sequence[UploadPart]) -> None:
        """Note the xxh3_128 of parts whose bytes the server had not seen so far."""
        of_part = (
            (UPLOAD_PARTS.c.upload_id == upload_id)
            & (UPLOAD_PARTS.c.part_number == bindparam("number"))
            & (UPLOAD_PARTS.c.store_etag == bindparam("etag"))
        )
        filled = update(UPLOAD_PARTS).where(of_part).values(xxh3_128=bindparam("digest"))
        values = [{"number": part.part_number, "etag": part.store_etag, "digest": part.xxh3_128} for part in parts]
        with self._database.write() as connection:
            connection.execute(filled, values)


def _are(upload_id: str, part_numbers: Collection[int]) -> ColumnElement[bool]:
    return (UPLOAD_PARTS.c.upload_id == upload_id) & UPLOAD_PARTS.c.part_number.in_(part_numbers)
