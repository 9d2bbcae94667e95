"""What comes into a subcommand: files, and the output of the subcommand before it in a pipe."""

import sys
from pathlib import Path

from song_score_client.errors import ConfigurationError, LocalFileError
from song_score_client.exact_json import parse_object

STDIN = "-"
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Longest payload or schema that Song takes. A longer one would only be sent to be refused."""


def read_document(source: str) -> str:
    """Return the text of a file, `-` is stdin; LocalFileError where it can't be read or is not UTF-8."""
    try:
        content = _read_stdin() if source == STDIN else _read_file(Path(source))
    except OSError as error:
        raise LocalFileError(f"can't read {source}: {error.strerror}") from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise LocalFileError(f"{source} is too large: Song takes at most {MAX_DOCUMENT_BYTES} bytes (16 MiB)")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LocalFileError(f"{source} is not UTF-8: byte {error.start}") from None


def choose_analysis_id(given: str | None) -> str:
    """Return the id given, or the `analysisId` of the JSON object on stdin, as `song submit` prints it."""
    if given:
        return given
    if sys.stdin is not None and sys.stdin.isatty():
        raise ConfigurationError("no analysis: use --analysis-id, or pipe the output of `song submit` into this")
    text = _read_stdin().decode("utf-8", "replace")
    if not text.strip():
        raise LocalFileError("nothing came in on stdin: did the command before fail?")
    try:
        analysis_id = parse_object(text).get("analysisId")
    except ValueError as error:
        raise LocalFileError(f"stdin: {error}") from None
    if not isinstance(analysis_id, str) or not analysis_id:
        raise LocalFileError('stdin has no "analysisId"')
    return analysis_id


def _read_stdin() -> bytes:
    # A shell's `<&-` leaves none.
    return b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_DOCUMENT_BYTES + 1)
