"""How a bucket of S3 is reached: the SDK's client, with credentials of ours or of the machine's own."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.httpsession import get_cert_path

from score_grpc.gateways.objects.http_streams import (
    ATTEMPTS,
    CONNECT_TIMEOUT_SECONDS,
    CONNECTIONS,
    PROGRESS_TIMEOUT_SECONDS,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONFIGURATION_ERRORS: tuple[type[Exception], ...] = (BotoCoreError, ValueError)
"""What opening a client raises where an endpoint is no URL or a profile is not there. Their texts hold no secret."""


class Encryption(TypedDict, total=False):
    """What every write of an object is asked for."""

    ServerSideEncryption: Literal["aws:kms"]
    SSEKMSKeyId: str


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Where the bucket is and who we are there."""

    bucket: str
    region: str = "us-east-1"
    endpoint_url: str | None = None
    """None means AWS."""
    public_endpoint_url: str | None = None
    """Where signed URLs lead, if clients reach the store under another name: they are signed for that host."""
    uses_path_style: bool = False
    """Address `<endpoint>/<bucket>/<key>`, which most stores but AWS need; else `<bucket>.<endpoint>/<key>`."""
    access_key_id: str | None = None
    """None, as `secret_access_key`: the SDK's chain of environment, profile, web identity and machine's role."""
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    """Belongs to a temporary access key."""
    profile: str | None = None
    """A section of the SDK's own configuration files, in place of an access key."""
    kms_key: str | None = None
    """Objects are encrypted by the store with this key: an id, ARN or alias. An etag is then no MD5."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust; None means the public ones."""
    progress_timeout_seconds: float = PROGRESS_TIMEOUT_SECONDS


class S3Access:
    """The clients of one store, over the same credentials. Raises CONFIGURATION_ERRORS."""

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._session = boto3.session.Session(
            profile_name=options.profile,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
        )
        self.ca_file = str(options.ca_file or get_cert_path(verify=True))
        self.client = self._open(options.endpoint_url)
        self.public_client = self._open(options.public_endpoint_url) if options.public_endpoint_url else self.client
        """Only signs."""

    def credentials_expire_time(self) -> datetime | None:
        """Return when the credentials in use end, and with them what they sign; None where that is not known."""
        credentials = self._session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()  # renews those that are about to end
        # No public name tells it.
        found: datetime | None = getattr(credentials, "_expiry_time", None)
        return found

    def close(self) -> None:
        """Release the connections."""
        self.client.close()
        self.public_client.close()

    def _open(self, endpoint_url: str | None) -> "S3Client":
        options = self._options
        return self._session.client(
            "s3",
            region_name=options.region,
            endpoint_url=endpoint_url,
            verify=self.ca_file,
            config=Config(
                signature_version="s3v4",
                # Not "auto", which means path wherever the endpoint is not Amazon's.
                s3={"addressing_style": "path" if options.uses_path_style else "virtual"},
                # Older Ceph and MinIO know no other checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=options.progress_timeout_seconds,
                retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                max_pool_connections=CONNECTIONS,
                tcp_keepalive=True,
                # Parts go straight to the store, so everything does.
                proxies={},
            ),
        )
