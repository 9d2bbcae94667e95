"""Text files that are there whole or not at all."""

import os
from pathlib import Path

from song_score_client.errors import LocalFileError


def write_whole(text: str, target: Path) -> None:
    """Write the file whole or not at all; one that is there is replaced. Raises LocalFileError."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            # A path may hold bytes that are no UTF-8; they go through as they are.
            with temporary.open("x", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(text)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise LocalFileError(f"can't write {target}: {error.strerror}") from None
