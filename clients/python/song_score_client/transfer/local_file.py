"""A file on this machine: what it is, and what its parts' digests are."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from byte_path.digests import PartDigest
from byte_path.md5 import new_md5
from song_score_client.errors import LocalFileError

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells that a file is still the one it was, without reading it."""

    size_bytes: int
    modified_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open file, read at any place by any thread."""

    path: Path
    fd: int
    identity: FileIdentity

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer from the file. Raises LocalFileError where the file ends before."""
        filled = 0
        while filled < buffer.nbytes:
            try:
                count = os.preadv(self.fd, [buffer[filled:]], offset + filled)
            except OSError as error:
                raise LocalFileError(f"{self.path}: {error.strerror} at byte {offset + filled}") from error
            if not count:
                raise LocalFileError(f"{self.path} became shorter while it was read: it ends at {offset + filled}")
            filled += count

    def pieces(self, offset: int, size_bytes: int, piece_bytes: int = CHUNK_BYTES) -> Iterator[memoryview]:
        """Yield the bytes in pieces; each is valid until the next one is taken."""
        buffer = memoryview(bytearray(min(piece_bytes, size_bytes)))
        for start in range(offset, offset + size_bytes, piece_bytes):
            piece = buffer[: offset + size_bytes - start]
            self.read_into(piece, start)
            yield piece

    def part_digest(self, offset: int, size_bytes: int) -> str:
        """Return the xxh3_128 of a part."""
        digest = PartDigest()
        for piece in self.pieces(offset, size_bytes):
            digest.update(piece)
        return digest.hexdigest()

    def part_digests(self, offset: int, size_bytes: int) -> tuple[str, str]:
        """Return the xxh3_128 and the MD5 of a part, by reading it once."""
        digest, md5 = PartDigest(), new_md5()
        for piece in self.pieces(offset, size_bytes):
            digest.update(piece)
            md5.update(piece)
        return digest.hexdigest(), md5.hexdigest()

    def md5(self) -> str:
        """Return the MD5 of the whole."""
        md5 = new_md5()
        for piece in self.pieces(0, self.identity.size_bytes):
            md5.update(piece)
        return md5.hexdigest()

    def require_unchanged(self) -> None:
        """Raise LocalFileError if the file was written to since it was opened."""
        if _identity(self.fd) != self.identity or not _is_at(self.path, self.identity):
            raise LocalFileError(
                f"{self.path} was changed while it was being uploaded: what was sent is kept, run the command again "
                "once the file is final"
            )


@contextmanager
def open_file(path: Path) -> Iterator[LocalFile]:
    """Open a regular file for reading. Raises LocalFileError."""
    try:
        # A pipe without a writer would make an open wait for one.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise LocalFileError(f"{str(path)!r}: {error}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LocalFileError(f"{path} is not a file")
        yield LocalFile(path, fd, _identity(fd))
    finally:
        os.close(fd)


def _identity(fd: int) -> FileIdentity:
    status = os.fstat(fd)
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


def _is_at(path: Path, identity: FileIdentity) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (identity.device, identity.inode)
