"""Settings of Score."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from runtime_grpc.settings import ServiceSettings
from score_grpc.domain.layout import POOL_DIGITS_MAX, Layout
from score_grpc.url_keys import parse_url_keys


class ScoreSettings(ServiceSettings):
    """Everything Score can be told: `SCORE_SERVER_<NAME>` in the environment, `--<name>` on the command line."""

    model_config = SettingsConfigDict(env_prefix="SCORE_SERVER_", extra="forbid")
    config_variable: ClassVar[str] = "SCORE_SERVER_CONFIG"
    database_file: ClassVar[str] = "score.db"

    port: Annotated[int, Field(ge=0, le=65535)] = 50052
    song_address: str = Field("127.0.0.1:50051", description="where Song's gRPC listens")
    signed_urls: Literal["store", "score"] = Field(
        "store", description="score: signed URLs lead to Score's own HTTP also where the store could sign"
    )
    public_http_url: str = Field(
        "", description="what signed URLs of Score's own begin with; empty: http:// and where http_port listens"
    )
    url_keys: SecretStr = Field(
        SecretStr(""), description="id:secret[,id:secret]: sign such URLs, the first; empty: a key kept in data_dir"
    )
    max_streams: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="upload and download streams at once")
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="port of loopback for Prometheus, 0: any free one; without it there are no metrics"
    )
    audit_days: Annotated[int, Field(ge=1, le=3650)] = Field(400, description="how long entries of the audit are kept")
    background_work: bool = Field(
        True, description="complete uploads and verify objects here; false leaves it to `score-server verifier`"
    )
    upload_expiry_hours: Annotated[int, Field(ge=1, le=720)] = Field(
        168, description="how long an unfinished upload is kept after its last activity"
    )
    store: Literal["local", "s3", "azure"] = Field("local", description="where the bytes are kept; local: in data_dir")
    object_folder: str = Field(
        "data", pattern=r"^([\w.-]+(/[\w.-]+)*)?$", description="what keys of objects begin with; empty: nothing"
    )
    s3_bucket: str = Field("", description="bucket of the s3 store; Score creates none")
    s3_bucket_pool: Annotated[int, Field(ge=0, le=10_000)] = Field(
        0, description="spread new objects over so many buckets, s3_bucket.0 and so on; 0: all go to s3_bucket"
    )
    s3_bucket_digits: Annotated[int, Field(ge=1, le=POOL_DIGITS_MAX)] = Field(
        2, description="how many hexadecimal digits of an object id choose its bucket of the pool"
    )
    adopt: bool = Field(False, description="look in s3_bucket for objects that an Overture Score has left there")
    adopt_state_bucket: str = Field("", description="bucket of the former Score's .meta files; empty: s3_bucket")
    adopt_upload_folder: str = Field("upload", description="folder of the former Score's unfinished uploads")
    s3_endpoint: str = Field("", description="URL of an S3 other than Amazon's")
    s3_public_endpoint: str = Field(
        "", description="URL by which clients reach the S3, if not by s3_endpoint: signed URLs are made for it"
    )
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr = Field(SecretStr(""), description="empty: the machine's own credentials")
    s3_secret_key: SecretStr = SecretStr("")
    s3_session_token: SecretStr = Field(SecretStr(""), description="of a temporary s3_access_key")
    s3_profile: str = Field("", description="profile of the SDK's own files, in place of s3_access_key")
    s3_kms_key: str = Field("", description="KMS key with which the S3 encrypts all objects: its id, ARN or alias")
    s3_path_style: bool = Field(True, description="address buckets by path, as most S3s but Amazon's want it")
    s3_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the endpoint's certificate"
    )
    azure_container: str = Field("", description="container of the azure store; Score creates none")
    azure_connection_string: SecretStr = Field(
        SecretStr(""), description="account, endpoint and credentials in one text; in place of the four below"
    )
    azure_account: str = ""
    azure_key: SecretStr = Field(SecretStr(""), description="key of azure_account")
    azure_sas: SecretStr = Field(SecretStr(""), description="shared access signature, in place of azure_key")
    azure_endpoint: str = Field("", description="URL of the account; empty: https://ACCOUNT.blob.core.windows.net")
    azure_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the endpoint's certificate"
    )

    @field_validator("public_http_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        if url and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url):
            raise ValueError("give http:// or https:// with a host, and a path where a proxy adds one")
        return url.rstrip("/")

    @field_validator("url_keys")
    @classmethod
    def _known_keys(cls, keys: SecretStr) -> SecretStr:
        if keys.get_secret_value():
            parse_url_keys(keys.get_secret_value())
        return keys

    @field_validator("s3_endpoint", "s3_public_endpoint", "azure_endpoint")
    @classmethod
    def _without_secret(cls, url: str) -> str:
        if "@" in url or "?" in url:
            raise ValueError("give the credentials as settings of their own, not in the URL")
        return url

    @model_validator(mode="after")
    def _folder_of_objects_alone(self) -> Self:
        if self.object_folder != "data" and self.store == "local":
            raise ValueError("object_folder: in the local store it is data")
        if self.object_folder.partition("/")[0] == "upload":
            raise ValueError("object_folder: upload is the folder of what is not complete")
        return self

    @model_validator(mode="after")
    def _adopting_from_s3(self) -> Self:
        if self.adopt and self.store != "s3":
            raise ValueError(f"adopt: objects are adopted in an s3 store, not in store {self.store}")
        return self

    @property
    def layout(self) -> Layout:
        """Where new objects go in the store."""
        pool = self.s3_bucket_pool if self.store == "s3" else 0
        return Layout(self.object_folder, self.s3_bucket, pool, self.s3_bucket_digits)

    @model_validator(mode="after")
    def _one_process_at_the_metrics(self) -> Self:
        if self.workers > 1 and self.metrics_port is not None:
            raise ValueError("metrics_port: several workers can't share it; leave it out, or start one process each")
        return self

    @model_validator(mode="after")
    def _one_process_on_a_local_store(self) -> Self:
        if self.workers > 1 and self.store == "local":
            raise ValueError(
                f"workers {self.workers}: a local store belongs to one process; several need one that they share "
                "(store s3 or azure)"
            )
        return self
