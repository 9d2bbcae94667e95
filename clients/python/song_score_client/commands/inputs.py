"""What comes into a subcommand: files, and the output of the subcommand before it in a pipe."""

import sys
from pathlib import Path

from song_score_client.errors import ConfigurationError, LocalFileError
from song_score_client.exact_json import parse_object

STDIN = "-"


def read_document(source: str) -> str:
    """Return the text of a file, `-` is stdin; LocalFileError where it can't be read or is not UTF-8."""
    try:
        content = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise LocalFileError(f"can't read {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LocalFileError(f"{source} is not UTF-8: byte {error.start}") from None


def choose_analysis_id(given: str | None) -> str:
    """Return the id given, or the `analysisId` of the JSON object on stdin, as `song submit` prints it."""
    if given:
        return given
    if sys.stdin.isatty():
        raise ConfigurationError("no analysis: use --analysis-id, or pipe the output of `song submit` into this")
    text = sys.stdin.buffer.read().decode("utf-8", "replace")
    if not text.strip():
        raise LocalFileError("nothing came in on stdin: did the command before fail?")
    try:
        analysis_id = parse_object(text).get("analysisId")
    except ValueError as error:
        raise LocalFileError(f"stdin: {error}") from None
    if not isinstance(analysis_id, str) or not analysis_id:
        raise LocalFileError('stdin has no "analysisId"')
    return analysis_id
