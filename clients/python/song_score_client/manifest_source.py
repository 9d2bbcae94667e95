"""Where manifests come from: a file, an http(s) URL, or the portal that keeps one under a UUID."""

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import grpc

from song_score_client.errors import ClientError, ConfigurationError, LocalFileError, UnreachableError

MAX_MANIFEST_BYTES = 64 * 1024 * 1024
"""Room for half a million files."""
FETCH_TIMEOUT_SECONDS = 60.0
"""Without a byte."""
_PORTAL_PATH = "/api/v1/manifests/"
_SCHEMES = ("http", "https")
_RETRIED_STATUS = (408, 429)
_SERVER_ERROR_STATUS = 500


class ManifestError(ClientError):
    """The file is no manifest of the kind that is wanted; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was read."""

    name: str
    """For messages: the path or the URL, without what may be secret in it."""
    text: str
    folder: Path
    """Where its relative paths are meant from: its own folder, or the current one for a URL."""


def load_manifest(source: str | Path, portal_url: str | None = None) -> Manifest:
    """Read a manifest from a path, an http(s) URL, or the portal where the source is a UUID and no such file is there.

    Raises ManifestError, LocalFileError, ConfigurationError without a portal, UnreachableError.
    """
    text = str(source)
    if urlsplit(text).scheme in _SCHEMES:
        return _fetch(text)
    path = Path(source)
    if _is_uuid(text) and not path.exists():
        if portal_url is None:
            raise ConfigurationError(
                f"{text} is the id of a manifest, and no portal is set: use SCORE_PORTAL_URL or url under [portal] in "
                "the configuration file"
            )
        return _fetch(portal_url.rstrip("/") + _PORTAL_PATH + text)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise LocalFileError(f"can't read {path}: {error.strerror}") from None
    return Manifest(text, _decode(content, text), path.absolute().parent)


def _fetch(url: str) -> Manifest:
    """Get a manifest over HTTP. Nothing that proves who asks is ever sent along."""
    parts = urlsplit(url)
    # A query may be a signature, a user a password.
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.username is not None or not parts.hostname:
        raise ConfigurationError(f"{name} is no address of a manifest: expected http(s)://host/path, without a user")
    # Not urlopen's own: a redirection could lead it to files of this machine, or to FTP.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(url, timeout=FETCH_TIMEOUT_SECONDS) as answer:
            content = answer.read(MAX_MANIFEST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _RETRIED_STATUS or error.code >= _SERVER_ERROR_STATUS:
            raise _unreachable(f"{name} answers {error.code} {error.reason}") from None
        raise ManifestError(f"{name} answers {error.code} {error.reason}: is there a manifest?") from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _unreachable(f"can't read {name}: {getattr(error, 'reason', None) or error}") from None
    return Manifest(name, _decode(content, name), Path.cwd())


def _unreachable(message: str) -> UnreachableError:
    return UnreachableError(message, service="portal", code=grpc.StatusCode.UNAVAILABLE)


def _decode(content: bytes, name: str) -> str:
    if len(content) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{name} is too large: a manifest has at most {MAX_MANIFEST_BYTES} bytes (64 MiB)")
    # A path may hold bytes that are no UTF-8; they go through as they are.
    return content.decode("utf-8-sig", errors="surrogateescape")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
