"""Settings of events: how long they are kept, and how they get to Kafka."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from runtime_grpc.settings import ServiceSettings

_SASL = ("sasl_plaintext", "sasl_ssl")


class EventSettings(ServiceSettings):
    """What Song can be told about events."""

    server_id: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        "song.overture", description="names this Song in events; Maestro's repository code"
    )
    event_retention_days: Annotated[float, Field(ge=0, le=36500)] = Field(
        30.0, description="how long events are kept once Kafka has them; 0: for ever"
    )
    kafka_servers: str = Field("", description="HOST:PORT of Kafka, more separated by commas; empty: no Kafka")
    kafka_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = Field(
        "song-analysis", description="topic that events go to"
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="how Kafka is spoken to"
    )
    kafka_ca_file: Path | None = Field(None, description="PEM file of the authority that signed Kafka's certificates")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how user and password are told, with sasl_plaintext and sasl_ssl"
    )
    kafka_user: str = Field("", description="user, with sasl_plaintext and sasl_ssl")
    kafka_password: SecretStr = Field(SecretStr(""), description="belongs to kafka_user")
    overture_actions: bool = Field(False, description="call UPDATE in Kafka PUBLISH, as Overture's Song does")

    @model_validator(mode="after")
    def _user_where_one_is_asked_for(self) -> Self:
        has_user = bool(self.kafka_user and self.kafka_password.get_secret_value())
        if self.kafka_servers and has_user != (self.kafka_security in _SASL):
            raise ValueError(
                "kafka_user and kafka_password belong to kafka_security sasl_plaintext and sasl_ssl: give all or none"
            )
        if self.kafka_ca_file is not None and not self.kafka_ca_file.is_file():
            raise ValueError(f"kafka_ca_file: {self.kafka_ca_file} is no file")
        return self
