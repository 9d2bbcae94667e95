"""Where the services are, which study is meant and who asks: flags > environment > file > defaults.

The file is TOML, `$XDG_CONFIG_HOME/song-score/config.toml` unless another is named:

    [song]
    url = "localhost:50051"
    study_id = "ABC123"
    access_token = "…"

    [score]
    url = "localhost:50052"
    http = "https://score.example.org"   # the way around a proxy that lets no gRPC pass
    transport = "auto"

    [profile.staging.song]      # only what differs; chosen by --profile staging
    url = "song.example.org:50051"

Access tokens come from the environment or the file alone: a command line can be read by every user of the
machine, and stays in the shell's history.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from song_score_client.errors import ConfigurationError
from song_score_client.transports import Transport

_HTTP_SCHEMES = ("http", "https")

_ENVIRONMENT: Mapping[str, tuple[str, ...]] = {
    "song.url": ("SONG_URL", "CLIENT_SERVER_URL"),
    "song.study_id": ("SONG_STUDY_ID", "CLIENT_STUDY_ID"),
    "song.access_token": ("SONG_ACCESS_TOKEN", "CLIENT_ACCESS_TOKEN", "ACCESSTOKEN"),
    "song.ca_file": ("SONG_CA_FILE",),
    "score.url": ("SCORE_URL", "STORAGE_URL"),
    "score.http": ("SCORE_HTTP",),
    "score.transport": ("SCORE_TRANSPORT",),
    "score.access_token": ("SCORE_ACCESS_TOKEN", "ACCESSTOKEN"),
    "score.ca_file": ("SCORE_CA_FILE",),
    "portal.url": ("SCORE_PORTAL_URL", "PORTAL_URL"),
}
"""Each setting's variables, the first that is set wins. Those without SONG_ or SCORE_ are Overture's."""

_DEFAULTS: Mapping[str, str] = {
    "song.url": "localhost:50051",
    "score.url": "localhost:50052",
    "score.transport": "auto",
}
_PROFILE_VARIABLE = "STORAGE_PROFILE"
MASK = "********"
_SECRETS = frozenset({"song.access_token", "score.access_token"})
SETTINGS = tuple(_ENVIRONMENT)


@dataclass(frozen=True, slots=True)
class Value:
    """One setting in force."""

    text: str | None = field(repr=False)
    source: str
    """For people: which flag, variable or file it is from."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force, each with its source."""

    values: Mapping[str, Value]
    """One for each name of SETTINGS."""

    @property
    def song_address(self) -> str:
        """`host:port` of Song, or `http://host:port`."""
        return self._address("song.url")

    @property
    def score_address(self) -> str:
        """`host:port` of Score, or `http://host:port`."""
        return self._address("score.url")

    @property
    def score_http(self) -> str:
        """`https://host:port` of Score's HTTP side; empty where none is known."""
        value = self.values["score.http"]
        if not value.text:
            return ""
        address = parse_address(value.text, "", value.source)
        if "://" not in address:
            raise ConfigurationError(f"{value.source}: {mask_user(value.text)!r} is not http://host:port")
        return address

    @property
    def score_transport(self) -> Transport:
        """How bytes go to Score and back."""
        value = self.values["score.transport"]
        try:
            return Transport((value.text or "").lower())
        except ValueError:
            raise ConfigurationError(
                f"{value.source}: there is no transport {value.text!r}; there are {', '.join(Transport)}"
            ) from None

    @property
    def song_ca_file(self) -> Path | None:
        """Authorities to trust besides the system's, where Song is reached by https."""
        return self._path("song.ca_file")

    @property
    def score_ca_file(self) -> Path | None:
        """Authorities to trust besides the system's, where Score and its store are reached by https."""
        return self._path("score.ca_file")

    @property
    def song_token(self) -> str | None:
        """Bearer token for Song."""
        return self._token("song.access_token")

    @property
    def score_token(self) -> str | None:
        """Bearer token for Score."""
        return self._token("score.access_token")

    @property
    def study_id(self) -> str:
        """The study that is meant; ConfigurationError where none is set."""
        study_id = self.values["song.study_id"].text
        if study_id is None:
            raise ConfigurationError(
                "no study is set: use --study, SONG_STUDY_ID or study_id in the configuration file"
            )
        return study_id

    @property
    def portal_url(self) -> str | None:
        """Where manifests are kept by their UUIDs, http(s); None where no portal is set."""
        value = self.values["portal.url"]
        if value.text is not None and urlsplit(value.text).scheme not in _HTTP_SCHEMES:
            raise ConfigurationError(f"{value.source}: {mask_user(value.text)!r} is no http(s) address of a portal")
        return value.text

    def shown(self, name: str) -> str | None:
        """Return a setting's text for the eyes of people: secrets masked."""
        text = self.values[name].text
        if text is None:
            return None
        return MASK if name in _SECRETS else mask_user(text)

    def _address(self, name: str) -> str:
        value = self.values[name]
        return parse_address(value.text or "", _DEFAULTS[name].rpartition(":")[2], value.source)

    def _path(self, name: str) -> Path | None:
        text = self.values[name].text
        return Path(text).expanduser() if text else None

    def _token(self, name: str) -> str | None:
        value = self.values[name]
        if value.text is not None and not (value.text.isascii() and value.text.isprintable() and " " not in value.text):
            raise ConfigurationError(f"{value.source}: the access token has characters that no token can have")
        return value.text


def load_configuration(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] = os.environ,
    *,
    path: Path | None = None,
    profile: str | None = None,
) -> Configuration:
    """Gather the settings. `flags` has names of SETTINGS; None and the empty string mean: not set.

    Raises ConfigurationError where the file or the profile can't be read or has names unknown here.
    """
    profile = profile or environment.get(_PROFILE_VARIABLE) or None
    tables = _read_file(path, environment, profile)
    values = {}
    for name, variables in _ENVIRONMENT.items():
        candidates = [(flags.get(name), "flag")]
        candidates += [(environment.get(variable), variable) for variable in variables]
        candidates += [(table.get(name), source) for table, source in tables]
        candidates += [(_DEFAULTS.get(name), "default")]
        text, source = next((found for found in candidates if found[0]), (None, "not set"))
        # A token read from a file ends in a line break easily.
        values[name] = Value(text.strip() if text and name in _SECRETS else text, source)
    return Configuration(values)


def parse_address(text: str, default_port: str, source: str) -> str:
    """Return `host:port` of `host`, `host:port` or `grpc://host:port`; of HTTP `http[s]://host[:port]`.

    Where no port is named it is the default one, for HTTP that of the scheme.
    """
    problem = f"{source}: {mask_user(text)!r} is no address: expected host:port, grpc://host:port or https://host:port"
    try:
        url = urlsplit(text if "://" in text else f"grpc://{text}")
        host, port = url.hostname, url.port
    except ValueError:
        raise ConfigurationError(problem) from None
    if not host or url.path.strip("/") or url.query or url.username is not None:
        raise ConfigurationError(problem)
    name = f"[{host}]" if ":" in host else host
    if url.scheme in _HTTP_SCHEMES:
        return f"{url.scheme}://{name}" + (f":{port}" if port else "")
    if url.scheme != "grpc":
        raise ConfigurationError(problem)
    return f"{name}:{port or default_port}"


def mask_user(address: str) -> str:
    """Return the address without the user and password that somebody may have put before its host."""
    before, at, host = address.rpartition("@")
    scheme, separator, _ = before.rpartition("://")
    return f"{scheme}{separator}{MASK}@{host}" if at else address


def default_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration file is unless another is named."""
    home = environment.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "song-score" / "config.toml"


def _read_file(
    path: Path | None, environment: Mapping[str, str], profile: str | None
) -> list[tuple[dict[str, str], str]]:
    """Return the file's settings with their source, the profile's first."""
    chosen = path or default_path(environment)
    try:
        document = tomllib.loads(chosen.read_text("utf-8"))
    except FileNotFoundError:
        if path is not None or profile is not None:
            raise ConfigurationError(f"there is no configuration file {chosen}") from None
        return []
    except OSError as error:
        raise ConfigurationError(f"can't read {chosen}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}") from None
    profiles = document.pop("profile", {})
    tables = [(_flatten(document, str(chosen)), str(chosen))]
    if profile is not None:
        if not isinstance(profiles, dict) or not isinstance(profiles.get(profile), dict):
            raise ConfigurationError(f"{chosen} has no profile {profile!r}")
        source = f"{chosen}, profile {profile}"
        tables.insert(0, (_flatten(profiles[profile], source), source))
    return tables


def _flatten(document: Mapping[str, Any], source: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for table, entries in document.items():
        for key, value in entries.items() if isinstance(entries, dict) else [("", entries)]:
            name = f"{table}.{key}".rstrip(".")
            if name not in SETTINGS:
                raise ConfigurationError(f"{source}: there is no setting {name}; there are {', '.join(SETTINGS)}")
            if not isinstance(value, str):
                raise ConfigurationError(f"{source}: {name} must be a string")
            flat[name] = value
    return flat
