"""Has Score read what it stores again, and waits for what comes of it."""

import time

import grpc
from score.v1.stored_object_pb2 import VERIFICATION_VERIFIED, StoredObject

from song_score_client.errors import StoredBytesCorruptError
from song_score_client.score import ScoreClient
from song_score_client.transfer.listener import Listener

POLL_SECONDS = (0.1, 1.0)
"""First and longest pause between two looks at a verification."""


def verify_stored(score: ScoreClient, object_id: str, listener: Listener | None = None) -> StoredObject:
    """Return the object once all its bytes were read again and are right.

    Raises ServiceError; StoredBytesCorruptError, with the parts' numbers, where they are not.
    """
    listener = listener or Listener()
    stored, pause = score.verify_object(object_id), POLL_SECONDS[0]
    seen_bytes = 0
    listener.begin(stored.size_bytes, 0)
    while stored.HasField("verification_run"):
        time.sleep(pause)
        pause = min(pause * 2, POLL_SECONDS[1])
        stored = score.get_object(object_id, allow_unpublished=True)
        read_bytes = stored.verification_run.verified_size_bytes
        listener.verify(read_bytes - seen_bytes if stored.HasField("verification_run") else 0)
        seen_bytes = max(seen_bytes, read_bytes)
    if stored.verification != VERIFICATION_VERIFIED:
        shown = ", ".join(map(str, stored.damaged_part_numbers))
        more = ", …" if stored.damaged_part_total > len(stored.damaged_part_numbers) else ""
        raise StoredBytesCorruptError(
            f"{stored.file_name}: {stored.damaged_part_total} of its {stored.part_total} parts are damaged in Score's "
            f"store ({shown}{more}): upload the same file again to mend it",
            service="score",
            code=grpc.StatusCode.DATA_LOSS,
            reason="STORED_BYTES_CORRUPT",
            metadata={"object_id": object_id},
        )
    listener.verify(stored.size_bytes - seen_bytes)
    return stored
