"""Signed URLs of S3: clients move bytes straight to and from the store, without credentials."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.gateways.objects.port import Staging
from score_grpc.gateways.objects.s3_client import S3Access


class S3Signer:
    """Signs for one bucket. Raises botocore's errors where the machine's own credentials can't be had."""

    def __init__(self, access: S3Access, bucket: str) -> None:
        self._access, self._bucket = access, bucket

    def sign_part(
        self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta
    ) -> SignedRequest:
        """See `ObjectStore.sign_part`. Length and MD5 are signed headers, so no other body fits."""
        content_md5 = base64.b64encode(bytes.fromhex(md5)).decode()
        facts = {
            "Key": staging.key,
            "UploadId": staging.token,
            "PartNumber": part_number,
            "ContentLength": size_bytes,
            "ContentMD5": content_md5,
        }
        # Content-Length is not among the headers to send: HTTP itself wants it.
        return self._sign("PUT", "upload_part", facts, {"Content-MD5": content_md5}, lifetime)

    def sign_read(
        self, key: str, version: str, byte_range: tuple[int, int] | None, lifetime: timedelta
    ) -> SignedRequest:
        """See `ObjectStore.sign_read`. Only a range is pinned to the version: the whole is a URL that needs no header.

        Nor has it to be: a key is never written again once its object is visible.
        """
        if byte_range is None:
            return self._sign("GET", "get_object", {"Key": key}, {}, lifetime)
        first, length = byte_range
        wanted = f"bytes={first}-{first + length - 1}"
        return self._sign(
            "GET",
            "get_object",
            {"Key": key, "Range": wanted, "IfMatch": version},
            {"Range": wanted, "If-Match": version},
            lifetime,
        )

    def _sign(
        self, method: str, operation: str, facts: Mapping[str, object], headers: Mapping[str, str], lifetime: timedelta
    ) -> SignedRequest:
        # The signature's clock has whole seconds.
        now = datetime.now(UTC).replace(microsecond=0)
        ends = self._access.credentials_expire_time()
        expire_time = now + lifetime if ends is None else min(now + lifetime, ends)
        url = self._access.public_client.generate_presigned_url(
            operation,
            Params={"Bucket": self._bucket, **facts},
            ExpiresIn=max(1, int((expire_time - now).total_seconds())),
        )
        return SignedRequest(method, url, headers, expire_time)
