"""Where `song watch` keeps its place between two runs."""

from pathlib import Path

from song_score_client.errors import LocalFileError
from song_score_client.whole_file import write_whole

MAX_TOKEN_BYTES = 4096


def read_resume_token(path: Path) -> str:
    """Return the token in the file; empty where there is no file yet. Raises LocalFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_BYTES + 1)
        return content.decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise LocalFileError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LocalFileError(f"{path} is no file that `song watch` wrote") from None


def write_resume_token(path: Path, token: str) -> None:
    """Write the token, whole or not at all. Raises LocalFileError."""
    write_whole(f"{token}\n", path)
