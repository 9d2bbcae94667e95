"""The object store in a bucket of S3, or of what speaks S3: MinIO, SeaweedFS, Ceph.

A staging is a multipart upload to the object's own key; the token is its upload id. The bytes of a part are pushed
into one signed PUT while they arrive, see `http_streams.py`.

Rights: s3:GetObject, PutObject, DeleteObject, AbortMultipartUpload, ListMultipartUploadParts, ListBucket,
ListBucketMultipartUploads.
"""

import base64
import hashlib
import ssl
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import copy
from datetime import datetime, timedelta
from http.client import HTTPException

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from score_grpc.domain.errors import (
    PartsLostError,
    ScoreError,
    StagingLostError,
    StoredBytesCorruptError,
    StoreFullError,
    StoreUnavailableError,
)
from score_grpc.domain.signed_requests import SignedRequest
from score_grpc.gateways.objects.http_streams import (
    Answer,
    Body,
    Connections,
    HttpPartWriter,
    read_pieces,
    skipped_bytes,
    unreachable,
)
from score_grpc.gateways.objects.port import StagedPart, Staging, StoredBytes, StorePart
from score_grpc.gateways.objects.s3_client import Encryption, S3Access, S3Options
from score_grpc.gateways.objects.s3_signing import S3Signer
from score_grpc.gateways.objects.s3_vouching import Crc64Nvme, S3Vouching, vouched_digest

SIGNATURE_SECONDS = 900
"""How long a part's signature holds: it is used at once, but clocks differ."""
COPIES_AT_ONCE = 8

# Beside the keys of objects, which begin otherwise.
_PROBE_KEY = "upload/encryption"
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}


class S3ObjectStore:
    """Keeps objects in one bucket, which must exist. Several processes may share it."""

    is_exclusive = False
    signs_parts = True

    def __init__(self, options: S3Options) -> None:
        self._bucket = options.bucket
        self._access = S3Access(options)
        self._client = self._access.client
        self._signer = S3Signer(self._access, options.bucket)
        tls = ssl.create_default_context(cafile=self._access.ca_file)
        self._connections = Connections(tls, options.progress_timeout_seconds)
        key = options.kms_key
        self._encryption: Encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
        self._encrypts = key is None
        self._vouching = S3Vouching(self._client, options.bucket)

    def in_bucket(self, bucket: str) -> "S3ObjectStore":
        """Return a store of another bucket, over the same connections: whoever closes one closes both."""
        twin = copy(self)
        twin._bucket, twin._signer = bucket, S3Signer(self._access, bucket)  # noqa: SLF001 - of its own kind
        return twin

    def begin(self, key: str) -> Staging:
        """See `ObjectStore.begin`."""
        with _store_errors(f"Beginning {key}"):
            self._demand_encryption()
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, **self._encryption, **self._vouching.wish
            )
            return Staging(key, begun["UploadId"])

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> HttpPartWriter:  # noqa: ARG002 - S3 orders parts by number, the local store by offset
        """See `ObjectStore.open_part`. That the staging is lost shows when the part is written or committed."""
        doing = f"Writing part {part_number} of {staging.key}"
        with _store_errors(doing):
            url = self._client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": self._bucket,
                    "Key": staging.key,
                    "UploadId": staging.token,
                    "PartNumber": part_number,
                },
                ExpiresIn=SIGNATURE_SECONDS,
            )
            # Never in an error or a log: who holds the URL can write the part.
            connection = self._connections.send("PUT", url, {"Content-Length": str(size_bytes)})

        def etag_of(answer: Answer) -> str:
            etag = answer.headers.get("ETag")
            if answer.status != 200 or answer.error_code or not etag or not answer.is_whole:  # noqa: PLR2004 - OK
                raise _refusal(doing, answer.status, answer.error_code or "and no whole answer")
            return etag

        return HttpPartWriter(self._connections, connection, doing, size_bytes, etag_of)

    def read_staged(self, staging: Staging, offset: int, size_bytes: int) -> None:
        """See `ObjectStore.read_staged`: S3 shows no byte of an unfinished multipart upload."""

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        """See `ObjectStore.assemble`."""
        key, size_bytes = staging.key, sum(part.size_bytes for part in parts)
        with _store_errors(f"Assembling {key}"):
            if not parts:
                # A multipart upload has at least one part.
                self._client.put_object(Bucket=self._bucket, Key=key, Body=b"", **self._encryption)
                self.abort(staging)
                return self._assembled(key, size_bytes)
            try:
                answer = self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=staging.token,
                    MultipartUpload={"Parts": [{"PartNumber": part.part_number, "ETag": part.etag} for part in parts]},
                )
            except ClientError as error:
                if _code_of(error) == "InvalidPart":
                    self._demand_parts(staging, parts)
                # An unknown upload may be an assembled one: by an earlier call, or by a first try of the SDK's whose
                # answer was lost.
                if _code_of(error) != "NoSuchUpload":
                    raise
            else:
                # A success that can't be read, as a gateway's page, leaves the parts where they were: not lost.
                if not answer.get("ETag") or self.stat(key) is None:
                    raise StoreUnavailableError(f"Assembling {key}: the object store said yes, and shows no object.")
            return self._assembled(key, size_bytes)

    def reopen(self, staging: Staging, parts: Sequence[StagedPart]) -> tuple[Staging, Sequence[StagedPart]]:
        """See `ObjectStore.reopen`. The store copies the parts into a new staging.

        The object stays until the next `assemble` overwrites it: whoever dies before the new staging is noted can
        still reopen it again.
        """
        key = staging.key
        stored = self._assembled(key, sum(part.size_bytes for part in parts))
        fresh = self.begin(key)

        def copied(part: StagedPart) -> StagedPart:
            try:
                answer = self._client.upload_part_copy(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=fresh.token,
                    PartNumber=part.part_number,
                    CopySource={"Bucket": self._bucket, "Key": key},
                    CopySourceRange=f"bytes={part.offset}-{part.offset + part.size_bytes - 1}",
                    CopySourceIfMatch=stored.version,
                )
            except ClientError as error:
                if _code_of(error) != "NotImplemented":
                    raise
                answer = {}  # type: ignore[typeddict-item]  # as rclone answers
            if "ETag" not in answer.get("CopyPartResult", {}):
                raise StagingLostError(f"The object store can't take {key} apart again: it copies no parts.")
            return StagedPart(part.part_number, part.offset, part.size_bytes, answer["CopyPartResult"]["ETag"])

        try:
            with _store_errors(f"Reopening {key}"), ThreadPoolExecutor(COPIES_AT_ONCE) as pool:
                copies = list(pool.map(copied, parts))
        except BaseException:
            with suppress(ScoreError):
                self.abort(fresh)
            raise
        return fresh, copies

    def abort(self, staging: Staging) -> None:
        """See `ObjectStore.abort`."""
        with _store_errors(f"Aborting {staging.key}"):
            try:
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=staging.key, UploadId=staging.token)
            except ClientError as error:
                if _code_of(error) != "NoSuchUpload":
                    raise

    def stagings(self, prefix: str, begun_before: datetime) -> Iterator[Staging]:
        """See `ObjectStore.stagings`."""
        with _store_errors("Looking through the stagings"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < begun_before:
                        yield Staging(upload["Key"], upload["UploadId"])

    def stat(self, key: str) -> StoredBytes | None:
        """See `ObjectStore.stat`."""
        with _store_errors(f"Looking for {key}"):
            try:
                facts = self._client.head_object(Bucket=self._bucket, Key=key, **self._vouching.question)
            except ClientError as error:
                if _status_of(error) != 404:  # noqa: PLR2004 - the HTTP status
                    raise
                return None
        return StoredBytes(facts["ContentLength"], facts["ETag"], vouched_digest(facts))

    def read(self, key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """See `ObjectStore.read`."""
        doing, end = f"Reading {key}", offset + size_bytes

        def open_range(position: int) -> tuple[Body, int]:
            with _store_errors(doing):
                try:
                    answer = self._client.get_object(
                        Bucket=self._bucket, Key=key, Range=f"bytes={position}-{end - 1}", IfMatch=version
                    )
                except ClientError as error:
                    if _status_of(error) in {404, 412, 416} and _code_of(error) != "NoSuchBucket":
                        raise StoredBytesCorruptError(
                            f"{key} is gone from the store, has other bytes or fewer than {end}."
                        ) from error
                    raise
                body = _S3Body(answer["Body"], doing)
                skipped = skipped_bytes(answer.get("ContentRange"), position)
                etag, size = answer["ETag"], answer["ContentLength"]
            if etag != version or size < skipped + end - position:
                body.close()
                raise StoredBytesCorruptError(f"{key} has other bytes in the store, or fewer than {end}.")
            return body, skipped

        return read_pieces(open_range, offset, size_bytes, doing)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with _store_errors(f"Deleting {key}"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def list_parts(self, staging: Staging, after: int = 0) -> Iterator[StorePart]:
        """See `ObjectStore.list_parts`. SeaweedFS lists a part that was written again as often as it was."""
        with _store_errors(f"Listing the parts of {staging.key}"):
            is_last = False
            while not is_last:
                page = self._client.list_parts(
                    Bucket=self._bucket, Key=staging.key, UploadId=staging.token, PartNumberMarker=after
                )
                # Without it this is no list, but a gateway's page: nobody may take it for parts that are gone.
                _ = page["UploadId"]
                for part in page.get("Parts", []):
                    if part["PartNumber"] > after:  # a store may know no marker
                        yield StorePart(part["PartNumber"], part["Size"], part["ETag"])
                marker = page.get("NextPartNumberMarker", 0)
                is_last = not page.get("IsTruncated") or marker <= after
                after = marker

    def sign_part(
        self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta
    ) -> SignedRequest:
        """See `ObjectStore.sign_part`."""
        with _store_errors(f"Signing part {part_number} of {staging.key}"):
            return self._signer.sign_part(staging, part_number, size_bytes, md5, lifetime)

    def sign_read(
        self, key: str, version: str, byte_range: tuple[int, int] | None, lifetime: timedelta
    ) -> SignedRequest:
        """See `ObjectStore.sign_read`."""
        with _store_errors(f"Signing a read of {key}"):
            return self._signer.sign_read(key, version, byte_range, lifetime)

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        """See `ObjectStore.put`."""
        body = b"".join(data)
        md5 = hashlib.md5(body, usedforsecurity=False)
        with _store_errors(f"Storing {key}"):
            self._demand_encryption()
            sent = base64.b64encode(md5.digest()).decode()
            answer = self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentMD5=sent, **self._encryption
            )
            # Some stores don't mind the MD5 they are given; but who answers with it has the bytes.
            if answer["ETag"].strip('"') == md5.hexdigest():
                return StoredBytes(len(body), answer["ETag"])
            stored = self._assembled(key, len(body))
            if b"".join(bytes(piece) for piece in self.read(key, stored.version, 0, len(body))) != body:
                raise StoreUnavailableError(f"Storing {key}: the object store returns other bytes than it was given.")
        return stored

    def passing_digest(self) -> Crc64Nvme | None:
        """See `ObjectStore.passing_digest`. Known once `check` has found the bucket."""
        return Crc64Nvme() if self._vouching.is_given else None

    def free_bytes(self) -> None:
        """See `ObjectStore.free_bytes`: a bucket has no such limit."""

    def check(self) -> None:
        """See `ObjectStore.check`."""
        with _store_errors(f"Looking for the bucket {self._bucket}"):
            self._client.head_bucket(Bucket=self._bucket)
        self._vouching.try_once(self._encryption)

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._connections.close()
        self._access.close()

    def _demand_parts(self, staging: Staging, parts: Sequence[StagedPart]) -> None:
        # Some answers quote an etag, some don't.
        held = {(part.part_number, part.size_bytes, part.etag.strip('"')) for part in self.list_parts(staging)}
        lost = [
            part.part_number for part in parts if (part.part_number, part.size_bytes, part.etag.strip('"')) not in held
        ]
        if lost:
            raise PartsLostError(f"{len(lost)} parts of {staging.key} are gone from the store, or differ.", lost)

    def _demand_encryption(self) -> None:
        """Raise unless the store encrypts as it is asked to, once: some take the wish and forget it."""
        if self._encrypts:
            return
        # The answer to a multipart upload's beginning does not say it in every store.
        answer = self._client.put_object(Bucket=self._bucket, Key=_PROBE_KEY, Body=b"probe", **self._encryption)
        self._client.delete_object(Bucket=self._bucket, Key=_PROBE_KEY)
        if not answer.get("ServerSideEncryption", "").startswith("aws:kms"):
            raise StoreUnavailableError(
                "The object store does not encrypt with KMS keys, and this server is told to keep nothing otherwise."
            )
        self._encrypts = True

    def _assembled(self, key: str, size_bytes: int) -> StoredBytes:
        """Return the object. Its etag is asked for, for some stores answer another one when completing."""
        stored = self.stat(key)
        if stored is None or stored.size_bytes != size_bytes:
            raise StagingLostError(f"The store holds neither a staging nor the object {key}.")
        return stored


class _S3Body:
    """The SDK's body, with errors of our own."""

    def __init__(self, body: StreamingBody, doing: str) -> None:
        self._body, self._doing = body, doing

    def readinto(self, buffer: memoryview, /) -> int:
        with _store_errors(self._doing):
            return self._body.readinto(buffer)  # type: ignore[arg-type]  # the stubs want a file here

    def close(self) -> None:
        self._body.close()


@contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _refusal(doing, _status_of(error), _code_of(error)) from error
    except KeyError as error:
        raise StoreUnavailableError(
            f"{doing}: the object store's answer lacks {error}, so it does less than S3."
        ) from error
    except (BotoCoreError, ResponseParserError, HTTPError, HTTPException, OSError) as error:
        raise unreachable(doing, error) from error


def _refusal(doing: str, status: int, code: str) -> ScoreError:
    """Say what an answer of the store means; its own words may hold more than a caller should see."""
    if status == 507 or code in _FULL_CODES:  # noqa: PLR2004 - Insufficient Storage
        return StoreFullError(f"{doing}: no space left in the object store. Persisted parts are kept.")
    if code == "NoSuchUpload":
        return StagingLostError(f"{doing}: the store no longer knows the multipart upload.")
    if status == 403:  # noqa: PLR2004 - Forbidden
        return StoreUnavailableError(
            f"{doing}: the object store refuses this server ({status} {code}): check its credentials, its clock and "
            "its rights. Without s3:ListBucket a missing key is refused too."
        )
    return StoreUnavailableError(f"{doing}: the object store answered {status} {code}.")


def _status_of(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _code_of(error: ClientError) -> str:
    return error.response["Error"].get("Code", "")
