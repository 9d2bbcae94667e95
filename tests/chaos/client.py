"""A client to be killed: uploads or downloads one file with the SDK, and notes as it goes what it was told.

Run as a program: `client.py ORDER`, an `Order` as JSON. Its `notes` get a line per event, which survives the process:
`verified BYTES`, `withdrawn BYTES`, `broken`, and what else is said. Prints the result, or the error of the SDK, as
JSON; any other error ends it with a traceback.
"""

import json
import os
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from song_score_client.connection import Connection, RetryPolicy
from song_score_client.errors import ClientError, ServiceError
from song_score_client.score import ScoreClient
from song_score_client.transfer.download import download_object
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.rate import RateLimit
from song_score_client.transfer.upload import upload_file
from song_score_client.transports import Transport

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do."""

    direction: Literal["up", "down"]
    address: str
    http_url: str
    transport: str
    object_id: str
    path: str
    state_dir: str
    notes: str
    streams: int
    bytes_per_second: float
    replace: bool

    def command(self) -> list[str]:
        """Return what runs it."""
        return [sys.executable, "-m", "tests.chaos.client", json.dumps(asdict(self))]


def move(order: Order) -> dict[str, object]:
    """Do it. Raises ClientError."""
    listener, path = Notes(order.notes), Path(order.path)
    rate = RateLimit(order.bytes_per_second)
    connection = Connection(
        "score", order.address, retry=RETRY, http_url=order.http_url, transport=Transport(order.transport)
    )
    with ScoreClient(connection) as score:
        if order.direction == "up":
            up = upload_file(
                score,
                order.object_id,
                path,
                replace=order.replace,
                streams=order.streams,
                rate=rate,
                state_dir=Path(order.state_dir),
                listener=listener,
            )
            return {"md5": up.stored_object.md5, "kept": up.kept_part_total}
        down = download_object(
            score,
            order.object_id,
            path,
            allow_unpublished=True,
            streams=order.streams,
            rate=rate,
            listener=listener,
        )
        return {"md5": down.md5, "kept": down.kept_part_total}


def main() -> int:
    try:
        print(json.dumps(move(Order(**json.loads(sys.argv[1])))))
    except ClientError as error:
        reason = error.reason if isinstance(error, ServiceError) else ""
        print(json.dumps({"error": type(error).__name__, "reason": reason, "message": str(error)}))
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
