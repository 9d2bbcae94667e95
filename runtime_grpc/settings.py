"""Settings of a service: defaults < TOML file < environment < flags, typed, checked at the start."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError


class ServiceSettings(BaseSettings):
    """What every service of ours can be told."""

    # What was told may hold secrets, which an error's text would repeat.
    model_config = SettingsConfigDict(hide_input_in_errors=True)
    config_variable: ClassVar[str] = ""
    """The environment variable that names the TOML file."""
    database_file: ClassVar[str] = ""
    """Name of the embedded SQLite file."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    http_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="port for HTTP/1.1, 0: any free one; without it there is no HTTP"
    )
    allow_insecure: bool = Field(
        False, description="listen, and ask the identity provider, beyond loopback although there is no TLS"
    )
    data_dir: Path = Field(Path("song-score-data"), description="folder of the embedded database and objects")
    database_url: str = Field("", description="SQLAlchemy URL; empty: SQLite in data_dir")
    migrate: bool = Field(True, description="bring the database's schema up to date at the start")
    service_token: SecretStr = Field(
        SecretStr(""), description="shared secret with which Song and Score prove themselves to each other"
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        10.0, description="how long calls under way may go on once the server stops"
    )

    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="processes that share the port; more than one needs PostgreSQL"
    )

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if url and not url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("give sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE")
        try:
            query = make_url(url).query if url else {}
        except (ArgumentError, ValueError):
            # Without its words: they quote the password.
            raise ValueError("it can't be read: percent-encode what is special in user and password") from None
        if "password" in query:
            raise ValueError("give the password before the host, where it is masked: USER:PASSWORD@HOST")
        return url

    @model_validator(mode="after")
    def _loopback_or_told(self) -> Self:
        if self.host != "localhost" and not self.allow_insecure:
            try:
                loopback = ipaddress.ip_address(self.host).is_loopback
            except ValueError:
                loopback = False
            if not loopback:
                raise ValueError(
                    f"host {self.host} can be reached from other machines, and there is no TLS and no authentication "
                    "yet: keep to 127.0.0.1, or set allow_insecure on a network you trust"
                )
        return self

    @model_validator(mode="after")
    def _one_process_on_sqlite(self) -> Self:
        if self.workers > 1 and not self.database_url.startswith("postgresql"):
            raise ValueError(
                f"workers {self.workers}: a SQLite file belongs to one process; several need PostgreSQL (database_url)"
            )
        return self

    @model_validator(mode="after")
    def _one_http_port(self) -> Self:
        if self.workers > 1 and self.http_port == 0:
            raise ValueError(f"workers {self.workers}: name the http_port that they share, 0 gives each another")
        return self

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def sql_url(self) -> str:
        """The database's URL; by default a SQLite file in data_dir, whose folder is made."""
        if self.database_url:
            return self.database_url
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{self.data_dir.absolute() / self.database_file}"

    def masked(self) -> dict[str, Any]:
        """Return the effective values, secrets masked, the database's password too."""
        values = self.model_dump(mode="json")
        if self.database_url:
            values["database_url"] = make_url(self.database_url).render_as_string(hide_password=True)
        return values

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, the strongest first."""
        del dotenv_settings, file_secret_settings
        path = os.environ.get(cls.config_variable)
        if path and not Path(path).is_file():
            raise FileNotFoundError(f"{cls.config_variable} names {path}, which is no file")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)
