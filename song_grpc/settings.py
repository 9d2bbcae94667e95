"""Settings of Song."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from runtime_grpc.authentication_settings import AuthenticationSettings
from song_grpc.domain.access import Policy
from song_grpc.event_settings import EventSettings
from song_grpc.id_service_settings import IdServiceSettings


class SongSettings(IdServiceSettings, EventSettings, AuthenticationSettings):
    """Everything Song can be told: `SONG_SERVER_<NAME>` in the environment, `--<name>` on the command line."""

    model_config = SettingsConfigDict(env_prefix="SONG_SERVER_", extra="forbid")
    config_variable: ClassVar[str] = "SONG_SERVER_CONFIG"
    database_file: ClassVar[str] = "song.db"

    port: Annotated[int, Field(ge=0, le=65535)] = Field(50051, description="port to listen on; 0: any free one")
    score_address: str = Field("127.0.0.1:50052", description="where Score's gRPC listens; asked before publishing")
    enforce_latest: bool = Field(
        True, description="only the latest version of an analysis type may be submitted to or published"
    )
    reads: Literal["scoped", "public"] = Field(
        "scoped", description="public: anyone reads everything, as with Overture's Song"
    )
    scope_prefix: str = Field("PROGRAMDATA-", description="what a study's scopes begin with")
    scope_read_suffix: str = Field(".READ", description="what the scope to read a study ends with")
    scope_write_suffix: str = Field(".WRITE", description="what the scope to write to a study ends with")
    system_read_scope: str = Field("song.READ", description="the scope to read every study")
    system_write_scope: str = Field("song.WRITE", description="the scope to write to every study")

    @model_validator(mode="after")
    def _scopes_tell_apart(self) -> Self:
        _ = self.policy
        return self

    @property
    def policy(self) -> Policy:
        """How scopes are spelled, and whether reads need any. Raises ValueError."""
        return Policy(
            self.scope_prefix,
            self.scope_read_suffix,
            self.scope_write_suffix,
            self.system_read_scope,
            self.system_write_scope,
            self.reads == "public",
        )
