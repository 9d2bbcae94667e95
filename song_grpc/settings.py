"""Settings of Song."""

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from runtime_grpc.settings import ServiceSettings


class SongSettings(ServiceSettings):
    """Everything Song can be told: `SONG_SERVER_<NAME>` in the environment, `--<name>` on the command line."""

    model_config = SettingsConfigDict(env_prefix="SONG_SERVER_", extra="forbid")
    config_variable: ClassVar[str] = "SONG_SERVER_CONFIG"
    database_file: ClassVar[str] = "song.db"

    port: Annotated[int, Field(ge=0, le=65535)] = Field(50051, description="port to listen on; 0: any free one")
    score_address: str = Field("127.0.0.1:50052", description="where Score's gRPC listens; asked before publishing")
    enforce_latest: bool = Field(
        True, description="only the latest version of an analysis type may be submitted to or published"
    )
