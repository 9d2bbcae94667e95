"""What a transfer remembers on this machine: a header and a row per finished part, appended, one JSON line each.

A journal only saves work. Without it, or where its header no longer fits, parts are compared by digest; nothing
is ever trusted because a journal says so that the digests contradict.
"""

import fcntl
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from song_score_client.errors import LocalFileError

FORMAT = 1
# Whoever may write to the folder must not lead the journal elsewhere, nor have the transfer wait for a pipe's reader.
_OPEN_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TORN = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a line of anything at all may raise."""


class Journal:
    """One transfer's journal, held by one process at a time."""

    def __init__(self, path: Path, header: Mapping[str, str | int]) -> None:
        """Open the journal; begin it anew where its header is not this one.

        Raises LocalFileError if another process holds it or it can't be written.
        """
        self._path, self._header = path, {"format": FORMAT, **header}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, _OPEN_FLAGS | os.O_CREAT, 0o666)
        except OSError as error:
            if path.is_symlink():
                raise LocalFileError(f"{path} is a symbolic link: it is neither followed nor replaced") from error
            raise LocalFileError(f"{path}: {error.strerror}: name a folder that can be written") from error
        try:
            _lock(self._fd, path)
            self.modified_ns = os.fstat(self._fd).st_mtime_ns
            """When the last row was written by the run before."""
            self.md5s: dict[int, str] = {}
            """MD5 by part number, of those finished parts that went by a signed URL."""
            self.digests = self._load()
            """xxh3_128 by part number, of the parts that were finished."""
        except BaseException:
            self.close()
            raise
        self.is_resumed = bool(self.digests)

    def add(self, part_number: int, xxh3_128: str, md5: str = "") -> None:
        """Remember a finished part; it survives the death of this process."""
        self.digests[part_number] = xxh3_128
        if md5:
            self.md5s[part_number] = md5
        self._append(self._row(part_number, xxh3_128))

    def remove(self) -> None:
        """Forget the transfer: it is done."""
        with suppress(OSError):  # a journal left over is compared, and removed, by the next run
            self._path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the journal; it stays for the next run."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _load(self) -> dict[int, str]:
        digests: dict[int, str] = {}
        text = self._read()
        lines = text.splitlines()
        try:
            is_ours = bool(lines) and _parse(lines[0]) == self._header
        except _TORN:
            is_ours = False
        for line in lines[1:] if is_ours else []:
            try:
                row = _parse(line)
                number = int(row["part"])
                digests[number] = str(row["xxh3_128"])
                self.md5s.pop(number, None)
                if md5 := str(row.get("md5", "")):
                    self.md5s[number] = md5
            except _TORN:
                break  # the end of a process cut this row off: what stands before it holds
        if not is_ours or len(lines) != len(digests) + 1 or not text.endswith(b"\n"):
            self._rewrite(digests)
        return digests

    def _read(self) -> bytes:
        with os.fdopen(os.dup(self._fd), "rb") as file:
            try:
                return file.read()
            except OSError as error:
                raise LocalFileError(f"{self._path}: {error.strerror}") from error

    def _rewrite(self, digests: Mapping[int, str]) -> None:
        os.ftruncate(self._fd, 0)
        self._append(self._header)
        for part_number, xxh3_128 in digests.items():
            self._append(self._row(part_number, xxh3_128))

    def _row(self, part_number: int, xxh3_128: str) -> dict[str, str | int]:
        row: dict[str, str | int] = {"part": part_number, "xxh3_128": xxh3_128}
        if part_number in self.md5s:
            row["md5"] = self.md5s[part_number]
        return row

    def _append(self, row: Mapping[str, str | int]) -> None:
        rest = memoryview(json.dumps(row).encode("ascii") + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise LocalFileError(
                f"{self._path}: {error.strerror}: free some space and run the command again"
            ) from error


def journal_path(target: Path) -> Path:
    """Return where the journal of a download to `target` is."""
    return target.with_name(f".{target.name}.score")


def discard_journal(path: Path) -> None:
    """Remove the journal of a transfer that is done, as a run that was killed leaves it; not one that is in use."""
    with suppress(OSError, LocalFileError):
        fd = os.open(path, _OPEN_FLAGS)
        try:
            _lock(fd, path)
            path.unlink()
        finally:
            os.close(fd)


def _lock(fd: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise LocalFileError(f"{path} is not a file")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LocalFileError(f"another process is at work on this transfer: it holds {path}") from None


def _parse(line: bytes) -> Any:  # noqa: ANN401 - whatever stands there
    # As bytes, json would guess an encoding.
    return json.loads(line.decode("ascii"))
