"""A client to be killed: uploads or downloads one file with the SDK, and notes as it goes what it was told.

Run as a program: `client.py up|down ADDRESS OBJECT_ID PATH STATE_DIR NOTES`. NOTES gets a line per event, which
survives the process: `verified BYTES`, `withdrawn BYTES`, `broken`, and every 4 MiB `moved BYTES`. Prints the result,
or the error of the SDK, as JSON; any other error ends it with a traceback.
"""

import json
import os
import sys
import threading
from pathlib import Path

from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import ClientError, ServiceError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.upload import upload_file

RETRY = RetryPolicy(max_tries=8, first_delay_seconds=0.05, max_delay_seconds=0.5)
FAILED = 7


class Notes(Listener):
    """Writes down what it is told of."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def verify(self, size_bytes: int) -> None:
        self._note(f"verified {size_bytes}")

    def withdraw(self, size_bytes: int) -> None:
        self._note(f"withdrawn {size_bytes}")

    def say(self, message: str) -> None:
        self._note(f"broken {message}" if "going on in" in message else f"said {message}")

    def _note(self, line: str) -> None:
        with self._lock:
            os.write(self._fd, line.replace("\n", " ").encode() + b"\n")


def main() -> int:
    direction, address, object_id, path, state_dir, notes = sys.argv[1:]
    listener = Notes(notes)
    try:
        with ScoreClient(Connection("score", address, retry=RETRY)) as score:
            if direction == "up":
                up = upload_file(score, object_id, Path(path), state_dir=Path(state_dir), listener=listener)
                result = {"md5": up.stored_object.md5, "kept": up.kept_part_total}
            else:
                down = download_object(score, object_id, Path(path), allow_unpublished=True, listener=listener)
                result = {"md5": down.md5, "kept": down.kept_part_total}
    except ClientError as error:
        reason = error.reason if isinstance(error, ServiceError) else ""
        print(json.dumps({"error": type(error).__name__, "reason": reason, "message": str(error)}))
        return FAILED
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
