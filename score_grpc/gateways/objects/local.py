"""The object store in a local folder.

    <root>/lock             held by the one process that owns the store
    <root>/upload/<token>   a staging: one sparse file, each part at its own offset
    <root>/<key>            an assembled object, for example data/<object_id>

A part is persisted when its bytes are in the page cache: that survives the death of every process, though not a
loss of power, for which the caller compares digests. An assembled object is on the disk.
"""

import errno
import fcntl
import os
import stat
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from score_grpc.domain.errors import (
    PartsLostError,
    ScoreError,
    StagingLostError,
    StoredBytesCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from score_grpc.gateways.objects.port import PIECE_BYTES, StagedPart, Staging, StoredBytes, StorePart

LOCK_NAME = "lock"
UPLOAD_FOLDER = "upload"

# Only the server's own account reads controlled data past its rules.
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class LocalObjectStore:
    """Keeps objects under `root`, which is created where missing and must be one file system.

    Raises StoreUnavailableError where another process owns the folder or it can't be used.
    """

    is_exclusive = True
    signs_parts = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mutex = threading.Lock()
        # By token and part number: the one writer that may still touch the staging there.
        self._writers: dict[str, dict[int, LocalPartWriter]] = {}
        with _store_errors("Opening the store's folder"):
            self._make_folder(root / UPLOAD_FOLDER)
            lock_fd = os.open(root / LOCK_NAME, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        self._lock_fd: int | None = lock_fd
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_fd)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise _store_error("Locking the store's folder", error) from error
            raise StoreUnavailableError(
                f"Another process owns the object store in {root}. A local store belongs to one process: "
                "stop the other one, or use the s3 store, which several processes share."
            ) from error

    def begin(self, key: str) -> Staging:
        """See `ObjectStore.begin`."""
        staging = Staging(key, uuid.uuid4().hex)
        with _store_errors(f"Beginning {key}"):
            self._make_folder(self._object_path(key).parent)
            os.close(os.open(self._staging_path(staging), os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE))
        return staging

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> "LocalPartWriter":
        """See `ObjectStore.open_part`. An older writer of the part can write no more once this returns."""
        path = self._staging_path(staging)
        with _store_errors(f"Opening part {part_number} of {staging.key}"), self._mutex:
            try:
                fd = os.open(path, os.O_WRONLY)
            except FileNotFoundError as error:
                raise StagingLostError(f"The store holds no staging of {staging.key}.") from error
            writer = LocalPartWriter(self, staging, part_number, fd, offset, size_bytes)
            writers = self._writers.setdefault(staging.token, {})
            older = writers.get(part_number)
            writers[part_number] = writer
        if older:
            older.close()
        return writer

    def read_staged(self, staging: Staging, offset: int, size_bytes: int) -> Iterator[memoryview] | None:
        """See `ObjectStore.read_staged`."""
        path = self._staging_path(staging)
        with _store_errors(f"Reading {staging.key}"):
            return None if _size_of(path) is None else _pieces(path, staging.key, offset, size_bytes)

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        """See `ObjectStore.assemble`. A part is known to be lost where the staging ends before it."""
        staged, target = self._staging_path(staging), self._object_path(staging.key)
        size_bytes = sum(part.size_bytes for part in parts)
        # From here on a late writer can't touch bytes that are about to become the object.
        self._close_writers(staging)
        with _store_errors(f"Assembling {staging.key}"):
            try:
                fd = os.open(staged, os.O_RDWR)
            except FileNotFoundError as error:
                if _size_of(target) != size_bytes:
                    raise StagingLostError(
                        f"The store holds neither a staging nor the object {staging.key}."
                    ) from error
            else:
                try:
                    _demand_parts(staging, parts, os.fstat(fd).st_size)
                    os.ftruncate(fd, size_bytes)
                    _sync_parts(fd, staging, parts)
                finally:
                    os.close(fd)
                staged.rename(target)
                self._close_writers(staging)
            # Also where the rename is an earlier call's: it may have died before this.
            _sync_folders(target.parent, staged.parent)
        return StoredBytes(size_bytes, version="")

    def reopen(self, staging: Staging, parts: Sequence[StagedPart]) -> tuple[Staging, Sequence[StagedPart]]:
        """See `ObjectStore.reopen`. The staging and the parts stay as they were; repeating it changes nothing."""
        staged, target = self._staging_path(staging), self._object_path(staging.key)
        with _store_errors(f"Reopening {staging.key}"):
            size_bytes = _size_of(target)
            if size_bytes is not None:
                _demand_parts(staging, parts, size_bytes)
                target.rename(staged)
            elif not staged.exists():
                raise StagingLostError(f"The store holds neither the object {staging.key} nor a staging of it.")
            _sync_folders(target.parent, staged.parent)
        return staging, parts

    def abort(self, staging: Staging) -> None:
        """See `ObjectStore.abort`."""
        with _store_errors(f"Aborting {staging.key}"):
            self._staging_path(staging).unlink(missing_ok=True)
        # An open file keeps its space.
        self._close_writers(staging)

    def stagings(self, prefix: str, begun_before: datetime) -> Iterator[Staging]:  # noqa: ARG002 - a staging's file does not say its key
        """See `ObjectStore.stagings`. A staging counts as begun when a part was last written to it."""
        with _store_errors("Looking through the stagings"), os.scandir(self._root / UPLOAD_FOLDER) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it has just been assembled or aborted
                    if datetime.fromtimestamp(entry.stat().st_mtime, UTC) < begun_before:
                        yield Staging("", entry.name)

    def stat(self, key: str) -> StoredBytes | None:
        """See `ObjectStore.stat`."""
        with _store_errors(f"Looking for {key}"):
            size_bytes = _size_of(self._object_path(key))
        return None if size_bytes is None else StoredBytes(size_bytes, version="")

    def read(self, key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """See `ObjectStore.read`."""
        if version:
            raise StoredBytesCorruptError(f"{key} is wanted in version {version}, but a local store keeps no versions.")
        return _pieces(self._object_path(key), key, offset, size_bytes)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with _store_errors(f"Deleting {key}"):
            self._object_path(key).unlink(missing_ok=True)

    def list_parts(self, staging: Staging, after: int = 0) -> Iterator[StorePart]:  # noqa: ARG002 - as the port has it
        """See `ObjectStore.list_parts`: a staging's file does not say which of its parts were written."""
        return iter(())

    def sign_part(self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta) -> None:
        """See `ObjectStore.sign_part`: nobody but this process serves the folder."""

    def sign_read(self, key: str, version: str, byte_range: tuple[int, int] | None, lifetime: timedelta) -> None:
        """See `ObjectStore.sign_read`."""

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        """See `ObjectStore.put`. A process that dies here leaves a nameless staging, found as any other is."""
        staged, target = self._inside(f"{UPLOAD_FOLDER}/{uuid.uuid4().hex}"), self._object_path(key)
        with _store_errors(f"Storing {key}"):
            self._make_folder(target.parent)
            try:
                _write_file(staged, data)
                staged.rename(target)
            except OSError:
                staged.unlink(missing_ok=True)
                raise
            _sync_folders(target.parent)
        return StoredBytes(sum(piece.nbytes for piece in data), version="")

    def passing_digest(self) -> None:
        """See `ObjectStore.passing_digest`: a staging can be read."""

    def free_bytes(self) -> int:
        """See `ObjectStore.free_bytes`."""
        with _store_errors("Asking for free space"):
            facts = os.statvfs(self._root)
        return facts.f_bavail * facts.f_frsize

    def check(self) -> None:
        """See `ObjectStore.check`."""
        if self._lock_fd is None or not os.access(self._root / UPLOAD_FOLDER, os.W_OK | os.X_OK):
            raise StoreUnavailableError("The object store's folder is missing, closed or read-only.")

    def close(self) -> None:
        """See `ObjectStore.close`."""
        with self._mutex:
            lock_fd, self._lock_fd = self._lock_fd, None
        if lock_fd is not None:
            os.close(lock_fd)

    def forget(self, writer: "LocalPartWriter") -> None:
        """Drop a writer that ended; called by the writer alone."""
        with self._mutex:
            writers = self._writers.get(writer.staging.token, {})
            if writers.get(writer.part_number) is writer:
                del writers[writer.part_number]
                if not writers:
                    del self._writers[writer.staging.token]

    def _close_writers(self, staging: Staging) -> None:
        with self._mutex:
            writers = self._writers.pop(staging.token, {})
        for writer in writers.values():
            writer.close()

    def _object_path(self, key: str) -> Path:
        if key.partition("/")[0] in {LOCK_NAME, UPLOAD_FOLDER}:
            raise ValueError(f"{key!r} is no key of an object")
        return self._inside(key)

    def _staging_path(self, staging: Staging) -> Path:
        return self._inside(f"{UPLOAD_FOLDER}/{staging.token}")

    def _inside(self, name: str) -> Path:
        # Keys are made of validated ids; this holds even if one is not.
        if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise ValueError(f"{name!r} would leave the store")
        return self._root / name

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
            _sync_folders(folder.parent)


class LocalPartWriter:
    """Writes one part straight to its place in the staging. See `PartWriter`."""

    def __init__(
        self, store: LocalObjectStore, staging: Staging, part_number: int, fd: int, offset: int, size_bytes: int
    ) -> None:
        self.staging = staging
        self.part_number = part_number
        self._store = store
        # Held while writing, so that once `close` returns nothing more reaches the file.
        self._mutex = threading.Lock()
        self._fd: int | None = fd
        self._start = self._position = offset
        self._end = offset + size_bytes

    def write(self, data: memoryview) -> None:
        """See `PartWriter.write`."""
        with self._mutex:
            fd = self._demand_open()
            if self._position + data.nbytes > self._end:
                raise ValueError(f"part {self.part_number} would run into the next one")
            try:
                while data.nbytes:
                    written = os.pwrite(fd, data, self._position)
                    self._position += written
                    data = data[written:]
            except OSError as error:
                raise _store_error(f"Writing part {self.part_number} of {self.staging.key}", error) from error

    def commit(self) -> str:
        """See `PartWriter.commit`."""
        with self._mutex:
            fd = self._demand_open()
            if self._position != self._end:
                raise ValueError(f"part {self.part_number} lacks {self._end - self._position} bytes")
            # Linux begins to write the part to the disk, so that fsync finds little left to do. Advice: it may fail.
            with suppress(OSError, AttributeError):
                os.posix_fadvise(fd, self._start, self._end - self._start, os.POSIX_FADV_DONTNEED)
        self.discard()
        return ""

    def discard(self) -> None:
        """See `PartWriter.discard`. What was written stays in the staging unread until the part is written again."""
        self.close()
        self._store.forget(self)

    def close(self) -> None:
        """Let nothing more be written."""
        with self._mutex:
            fd, self._fd = self._fd, None
            if fd is not None:
                os.close(fd)

    def _demand_open(self) -> int:
        if self._fd is None:
            raise StoreUnavailableError(f"Part {self.part_number} of {self.staging.key} is no longer this writer's.")
        return self._fd


def _pieces(path: Path, key: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
    """Yield the range in pieces of one reused buffer; the file is open from the first piece to the end or close."""
    if not size_bytes:
        return
    with _store_errors(f"Reading {key}"):
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise StoredBytesCorruptError(f"{key} is gone from the store.") from error
    try:
        buffer = memoryview(bytearray(min(size_bytes, PIECE_BYTES)))
        end = offset + size_bytes
        while offset < end:
            piece = rest = buffer[: end - offset]
            while rest:
                with _store_errors(f"Reading {key}"):
                    count = os.preadv(fd, [rest], offset)
                if not count:
                    raise StoredBytesCorruptError(f"{key} ends at byte {offset} in the store, not at {end} or later.")
                offset += count
                rest = rest[count:]
            yield piece
    finally:
        os.close(fd)


def _write_file(path: Path, data: Sequence[memoryview]) -> None:
    """Make a file of these bytes, on the disk on return."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        for piece in data:
            rest = piece
            while rest:
                rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _size_of(path: Path) -> int | None:
    """Return a file's size in bytes, None where there is no file."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def _demand_parts(staging: Staging, parts: Sequence[StagedPart], held_bytes: int) -> None:
    lost = [part.part_number for part in parts if part.offset + part.size_bytes > held_bytes]
    if lost:
        raise PartsLostError(f"{len(lost)} parts of {staging.key} are gone from the store.", lost)


def _sync_parts(fd: int, staging: Staging, parts: Sequence[StagedPart]) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        if not parts:
            raise
        # The kernel reports bytes it could not write once, drops them and doesn't say which: the next fsync succeeds.
        raise PartsLostError(
            f"The disk failed to take {staging.key}: {os.strerror(error.errno or 0)}. All parts must be sent again.",
            [part.part_number for part in parts],
        ) from error


def _sync_folders(*folders: Path) -> None:
    """Make created, renamed and deleted names in these folders durable."""
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _store_error(doing, error) from error


def _store_error(doing: str, error: OSError) -> ScoreError:
    # The system's words for the error number alone: an OSError's own text names paths of this host.
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFullError(f"{doing}: no space left in the object store. Persisted parts are kept; free some space.")
    return StoreUnavailableError(f"{doing}: the object store's disk answered: {os.strerror(error.errno or 0)}.")
