"""The ledger's tables. A change here needs a migration beside it; a test compares the two.

Times are microseconds since 1970 (UTC) as integers, which every database keeps alike.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
)

METADATA = MetaData()

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("upload_id", String(36), primary_key=True),
    Column("object_id", String(36), nullable=False),
    Column("study_id", String(36), nullable=False),
    Column("analysis_id", String(36), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("state", String(12), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("expected_md5", String(32), nullable=False),
    Column("part_size_bytes", BigInteger, nullable=False),
    Column("staging_key", Text, nullable=False),
    Column("staging_token", Text, nullable=False),
    # One more for each stream that joins: a part is committed by the newest stream that wrote it.
    Column("stream_epoch", BigInteger, nullable=False),
    Column("hashed_size_bytes", BigInteger, nullable=False),
    # The MD5 that the last completion found wrong, while no part has changed since; else empty.
    Column("computed_md5", String(32), nullable=False),
    Column("failure_reason", String(64), nullable=False),
    Column("failure_message", Text, nullable=False),
    Column("lease_owner", String(64), nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    # Why it is ABORTED; else empty.
    Column("abort_reason", String(12), nullable=False, server_default=""),
    # Of an ABORTED upload: whether the store holds nothing of it any more.
    Column("is_freed", Boolean, nullable=False, server_default=false()),
)

_IS_LIVE = text("state IN ('OPEN', 'COMPLETING')")

# At most one live upload per object, whoever asks at the same moment.
Index(
    "uploads_live_object",
    UPLOADS.c.object_id,
    unique=True,
    sqlite_where=_IS_LIVE,
    postgresql_where=_IS_LIVE,
)
Index("uploads_object", UPLOADS.c.object_id)
IS_UNFREED = text("state = 'ABORTED' AND NOT is_freed")
"""As the index has it, so that a query by it can use the index."""
Index("uploads_unfreed", UPLOADS.c.lease_until, sqlite_where=IS_UNFREED, postgresql_where=IS_UNFREED)
Index("uploads_staging_key", UPLOADS.c.staging_key)
Index("uploads_state", UPLOADS.c.state, UPLOADS.c.lease_until)

UPLOAD_PARTS = Table(
    "upload_parts",
    METADATA,
    Column("upload_id", String(36), ForeignKey("uploads.upload_id"), primary_key=True),
    Column("part_number", Integer, primary_key=True, autoincrement=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("xxh3_128", String(32), nullable=False),
    Column("store_etag", Text, nullable=False),
    Column("stream_epoch", BigInteger, nullable=False),
)

OBJECTS = Table(
    "objects",
    METADATA,
    Column("object_id", String(36), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("upload_id", String(36), ForeignKey("uploads.upload_id"), nullable=False),
    Column("study_id", String(36), nullable=False),
    Column("analysis_id", String(36), nullable=False),
    Column("file_name", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("verification", String(12), nullable=False),
    Column("part_size_bytes", BigInteger, nullable=False),
    Column("store_key", Text, nullable=False),
    Column("store_version", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
)
