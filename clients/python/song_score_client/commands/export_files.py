"""The files of `song export`: `<output>/<study>/<analysis id>.json`."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from song.v1.analysis_service_pb2 import ExportAnalysesResponse

from song_score_client.errors import LocalFileError, ServiceError, from_item_error
from song_score_client.exact_json import dump, parse

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


@dataclass(slots=True)
class Exported:
    """What came of an export."""

    total: int = 0
    failures: list[tuple[str, ServiceError]] = field(default_factory=list)


def read_ids(path: Path) -> list[str]:
    """Return the ids in a file, one a line. Raises LocalFileError."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise LocalFileError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LocalFileError(f"{path} is not UTF-8: byte {error.start}") from None


def write_exported(answers: Iterable[ExportAnalysesResponse], output_dir: Path) -> Exported:
    """Write each payload, whole or not at all. Raises LocalFileError, ServiceError."""
    exported = Exported()
    for answer in answers:
        if answer.HasField("error"):
            exported.failures.append((answer.analysis_id, from_item_error(answer.error)))
            continue
        folder = output_dir / _plain(answer.study_id)
        target = folder / f"{_plain(answer.analysis_id)}.json"
        temporary = target.with_suffix(".json.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(dump(parse(answer.payload_json)) + "\n", "utf-8")
            temporary.replace(target)
        except OSError as error:
            raise LocalFileError(f"can't write {target}: {error.strerror}") from None
        exported.total += 1
    return exported


def _plain(name: str) -> str:
    """Return the name of a file; what a server calls a study must not lead out of the folder."""
    if not name or name.startswith(".") or not _PLAIN.issuperset(name):
        raise LocalFileError(f"{name!r} can't be the name of a file")
    return name
