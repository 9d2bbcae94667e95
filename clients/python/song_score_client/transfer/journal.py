"""What a transfer remembers on this machine: a header and a row per finished part, appended, one JSON line each.

A journal only saves work. Without it, or where its header no longer fits, parts are compared by digest; nothing
is ever trusted because a journal says so that the digests contradict.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from song_score_client.errors import LocalFileError

FORMAT = 1


class Journal:
    """One transfer's journal, held by one process at a time."""

    def __init__(self, path: Path, header: Mapping[str, str | int]) -> None:
        """Open the journal; begin it anew where its header is not this one.

        Raises LocalFileError if another process holds it or it can't be written.
        """
        self._path, self._header = path, {"format": FORMAT, **header}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="ascii")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise LocalFileError(f"another process is at work on this transfer: it holds {path}") from None
        except OSError as error:
            raise LocalFileError(f"{path}: {error.strerror}: name a folder that can be written") from error
        self.modified_ns = os.fstat(self._file.fileno()).st_mtime_ns
        """When the last row was written by the run before."""
        self.digests = self._load()
        """xxh3_128 by part number, of the parts that were finished."""
        self.is_resumed = bool(self.digests)

    def add(self, part_number: int, xxh3_128: str) -> None:
        """Remember a finished part; it survives the death of this process."""
        self.digests[part_number] = xxh3_128
        self._append({"part": part_number, "xxh3_128": xxh3_128})

    def remove(self) -> None:
        """Forget the transfer: it is done."""
        self._path.unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Let go of the journal; it stays for the next run."""
        self._file.close()

    def _load(self) -> dict[int, str]:
        self._file.seek(0)
        digests: dict[int, str] = {}
        lines = self._file.read().splitlines()
        try:
            is_ours = bool(lines) and json.loads(lines[0]) == self._header
        except ValueError:
            is_ours = False
        for line in lines[1:] if is_ours else []:
            try:
                row = json.loads(line)
                digests[int(row["part"])] = str(row["xxh3_128"])
            except (ValueError, KeyError, TypeError):
                break  # the end of a process cut this row off: what stands before it holds
        if len(lines) != len(digests) + 1:
            self._rewrite(digests)
        return digests

    def _rewrite(self, digests: Mapping[int, str]) -> None:
        os.ftruncate(self._file.fileno(), 0)
        self._append(self._header)
        for part_number, xxh3_128 in digests.items():
            self._append({"part": part_number, "xxh3_128": xxh3_128})

    def _append(self, row: Mapping[str, str | int]) -> None:
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise LocalFileError(
                f"{self._path}: {error.strerror}: free some space and run the command again"
            ) from error
