"""Every limit of Score. One table in the documentation lists them; a setting can change those marked so."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

CHUNK_MAX_BYTES: Final = 2 * MIB
"""Data of one UploadChunk; a larger one is refused."""
MESSAGE_MAX_BYTES: Final = 4 * MIB
"""One gRPC message, the default of most clients."""
HTTP_MESSAGE_MAX_BYTES: Final = MIB
"""The message of a call over HTTP/1.1: those are small, and what is parsed of one may take thirty times as much."""

READ_MESSAGE_MAX_BYTES: Final = MIB
"""Data of one answer of ReadObject."""
READ_MESSAGES_TOTAL_BYTES: Final = 8 * MIB
"""Of all streams that read, each with one answer; where they are more, answers are smaller by half, and by half again:
three copies of each are in memory at once."""
READ_MESSAGE_MIN_BYTES: Final = 256 * KIB
"""They are never smaller: each costs processor time of its own."""

PART_DEFAULT_BYTES: Final = 16 * MIB
PART_MIN_BYTES: Final = 5 * MIB
PART_MAX_BYTES: Final = 2047 * MIB
PARTS_MAX: Final = 10_000
"""As S3's."""
OBJECT_MAX_BYTES: Final = 5 * 1024 * GIB

STREAMS_PER_UPLOAD: Final = 16
BAD_CHUNKS_IN_A_ROW: Final = 3
"""Then the stream ends with CHUNK_CORRUPT."""
FAILED_WRITES_OF_A_PART: Final = 3
"""Then the stream ends with STORE_UNAVAILABLE."""

PAGE_PARTS_DEFAULT: Final = 1000
PAGE_PARTS_MAX: Final = 10_000
PAGE_ITEMS_DEFAULT: Final = 100
"""Items of a page of a list, uploads or objects, where none is asked for."""
PAGE_ITEMS_MAX: Final = 1000
PAGE_TOKEN_MAX_CHARS: Final = 256
BATCH_OBJECTS_MAX: Final = 500

SIGNED_AT_ONCE: Final = 256
"""Parts or ranges signed, or parts recorded, by one call."""
SIGNED_PART_SECONDS: Final = 900
"""How long the URL of a part holds where nothing else is asked for."""
SIGNED_PART_MAX_SECONDS: Final = 3600
SIGNED_READ_SECONDS: Final = 3600
"""The same of a download."""
SIGNED_READ_MAX_SECONDS: Final = 86_400

SONG_CACHE_SECONDS: Final = 30.0
"""How long Song's word about a file is taken as news by reads."""
SONG_CACHE_ENTRIES: Final = 10_000
SONG_DEADLINE_SECONDS: Final = 5.0
DECISION_GRACE_SECONDS: Final = 300.0
"""How long a stream may go on by an old decision while Song can't be asked."""

UPLOAD_LIFETIME_SECONDS: Final = 30 * 86_400
"""An upload that is not complete by then expires, however active it is."""
COLLECT_PERIOD_SECONDS: Final = 60.0
"""Between looks for uploads that expired, and for aborted ones that still take space."""
COLLECT_BATCH: Final = 16
"""Uploads one process takes for collection at once, under one lease."""
ORPHAN_PERIOD_SECONDS: Final = 3600.0
"""Between looks through the store for stagings that no upload knows."""
ORPHAN_AGE_SECONDS: Final = 86_400
"""A younger staging may be one that is just being begun."""
ORPHAN_BATCH: Final = 500
"""Stagings compared with the ledger at once."""

COMPLETION_WAIT_SECONDS: Final = 2.0
"""How long CompleteUpload waits for the work it started."""
COMPLETION_WAITERS: Final = 4
"""How many calls may wait so; the others are answered at once."""
COMPLETIONS_AT_ONCE: Final = 4
COMPLETION_TRIES: Final = 3
"""How often a completion that ends unexpectedly is tried before it leads back to OPEN."""
LEASE_SECONDS: Final = 30.0
COMPLETION_PROGRESS_SECONDS: Final = 1.0
"""How often a completion renews its lease and says how far it is."""
SWEEP_PERIOD_SECONDS: Final = 5.0
"""How often completions that nobody works on are looked for."""
HASHERS: Final = 8
"""Uploads of one process that are hashed at once; the lanes of `byte_path/_md5.c`. Each holds a piece of 1 MiB."""
HASH_LEAD_PARTS: Final = 3
"""How many parts a stream may be ahead of the hasher that follows it."""
HASH_PACE_SECONDS: Final = 5.0
"""How long a stream waits for a hasher that finishes no part meanwhile."""
PASSING_QUEUE_BYTES: Final = MIB
"""Bytes on their way that wait for a hasher, of one upload."""
PASSING_CHUNKS: Final = 16
"""Chunks on their way that wait for a hasher, of all uploads."""
HASHED_UPLOADS: Final = 1000
"""How many uploads' hash states are kept in memory; those not kept are hashed again from the start."""

DELETE_REASON_MAX_CHARS: Final = 1000
SMALL_OBJECT_MAX_BYTES: Final = PART_DEFAULT_BYTES
"""One object of WriteObjects and ReadObjects."""
SMALL_OBJECT_HELD_BYTES: Final = MIB
"""A larger one is not held in memory: it goes up through an upload of its own, and down piece by piece."""
SMALL_OBJECTS_HELD_BYTES: Final = 2 * MIB
"""Of one stream of WriteObjects, in objects that are not answered yet."""
SMALL_OBJECTS_HELD_TOTAL_BYTES: Final = 16 * MIB
"""Of all streams of WriteObjects of a process together; beyond it streams wait before they take the next object."""
SMALL_OBJECTS_ROOM_SECONDS: Final = 1.0
"""Between two looks, meanwhile, whether the server shuts down, the client has left, or an object takes too long."""
SMALL_OBJECT_BYTES_SECONDS: Final = 60.0
"""Within which an object's bytes must all have come; later it gives its place in memory to a stream that waits."""
SMALL_OBJECTS_UNANSWERED: Final = 128
"""Objects of one stream of WriteObjects that are not answered yet."""
SMALL_OBJECTS_ANNOUNCED: Final = 1000
"""Announced on one stream and not opened yet; Song's word about older ones is forgotten."""
SMALL_OBJECT_LEASE_SECONDS: Final = 600.0
"""How long a group may take until its keys are another's to free: beyond all time-outs of the store."""
SMALL_GROUPS_AT_ONCE: Final = 8
SMALL_PUTS_AT_ONCE: Final = 8
WHOLE_UPLOAD_SECONDS: Final = 120.0
"""How long an object of WriteObjects that goes through an upload of its own may wait for it."""
WHOLE_UPLOAD_PAUSE_SECONDS: Final = 0.05
"""Between two looks meanwhile."""
SMALL_READS_BATCH: Final = 64
"""Objects of ReadObjects that ledger and Song are asked about at once."""
SMALL_READS_AHEAD: Final = 8
"""Objects of one stream of ReadObjects that are read from S3 or Azure before it is their turn."""
SMALL_READ_DATA_BYTES: Final = 256 * KIB
"""Data of one message of ReadObjects, at most: what a stream that is slow to read keeps in memory."""

ADOPTIONS_AT_ONCE: Final = 8
"""Objects looked for in the store at once, of one call or one scan."""
SPECIFICATION_MAX_BYTES: Final = 10 * MIB
"""A `.meta` of Overture's: 10 000 parts with their dead URLs. A longer one is not read."""

VERIFICATIONS_AT_ONCE: Final = 2
"""Objects that one process reads again at once."""
STREAM_AGE_SECONDS: Final = 3600.0
"""Streams older than this end with a part, and are followed by new ones; so long the bytes of an object that was
replaced or deleted stay readable for those under way."""
STREAM_DRAIN_SECONDS: Final = 300.0
"""A client that was told to end its stream, and goes on, is stopped so much later, with a part."""
CHANGING_SECONDS: Final = 60.0
"""How long an object stays marked as changing, if its replacement or deletion does not end before."""
CHANGING_MARGIN_SECONDS: Final = 30.0
"""Of it must be left when the change is made: other hosts' clocks may be so much ahead."""

SIGNED_URL_PARAMETERS_MAX: Final = 16
"""Parameters of a signed URL of our own; it has at most five."""
SIGNED_READS_PER_OBJECT: Final = 32
"""Requests to signed URLs of our own that read one object at once; half the streams there are, if that is less. A
client has 16 at most. (What sends to one upload is bounded by STREAMS_PER_UPLOAD.)"""
SIGNED_PIECE_BYTES: Final = MIB
"""What a PUT to a signed URL of our own holds in memory."""
AUDIT_QUEUE_ENTRIES: Final = 10_000
"""Entries of the audit that wait to be written."""
AUDIT_WAIT_SECONDS: Final = 1.0
"""How long a call waits for a place among them; then its entry goes to the log instead."""
AUDIT_PERIOD_SECONDS: Final = 0.5
"""Between writings."""
AUDIT_RETRY_SECONDS: Final = 5.0
"""The same once one has failed."""
AUDIT_BATCH: Final = 500
"""Entries written, or pruned, in one transaction."""
AUDIT_PRUNE_SECONDS: Final = 3600.0
"""Between looks for entries that are too old."""
AUDIT_CLOSE_SECONDS: Final = 15.0
"""How long stopping waits for the last ones."""
AUDIT_FACT_MAX_CHARS: Final = 1000
"""One fact of an entry of the audit; longer ones are cut."""
