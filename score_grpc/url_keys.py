"""The keys of Score's own signed URLs: as the settings give them, or one made at random and kept in a file.

The file is not part of the database: a dump of it signs nothing.
"""

import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from score_grpc.domain.signatures import UrlKey

KEYS_MAX = 2
SECRET_MIN_CHARS = 32
_KEY = re.compile(rf"([A-Za-z0-9_-]{{1,32}}):([!-~]{{{SECRET_MIN_CHARS},512}})", re.ASCII)


def parse_url_keys(text: str) -> Sequence[UrlKey]:
    """Return the keys of `id:secret[,id:secret]`; the first signs. Raises ValueError, which never has a secret."""
    found = [_KEY.fullmatch(part.strip()) for part in text.split(",")]
    keys = [UrlKey(match[1], match[2].encode()) for match in found if match is not None]
    if len(keys) != len(found) or len(keys) > KEYS_MAX or len({key.key_id for key in keys}) != len(keys):
        raise ValueError(
            f"give one or two keys, id:secret[,id:secret]: ids that differ, of letters and digits, secrets of at least "
            f"{SECRET_MIN_CHARS} characters without commas"
        )
    return keys


def kept_url_key(path: Path) -> Sequence[UrlKey]:
    """Return the key in the file; where there is no file, make key and file, readable to this account alone.

    Raises OSError, ValueError.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = f"{secrets.token_hex(4)}:{secrets.token_urlsafe(48)}\n"
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".url-key-") as file:  # mode 0600
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process of this data_dir was faster: its key is the one
                os.link(file.name, path)
    return parse_url_keys(path.read_text().strip())
