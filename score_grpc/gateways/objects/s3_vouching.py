"""Whether an S3 vouches for what it keeps, and the digest it does it by.

AWS, SeaweedFS and newer MinIO compute a CRC-64/NVME of the whole of an assembled object from the bytes that reached
them, and tell it. Who hashed the same bytes on their way and finds it equal need not read them back. Other stores
refuse the wish for it, take it and forget it, or then refuse parts that bring no checksum of their own: so each store
is tried once, with a small object, before anything relies on it.
"""

import base64
import threading
import uuid
from typing import TYPE_CHECKING, Literal, Self, TypedDict

from awscrt.checksums import crc64nvme
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from score_grpc.gateways.objects.s3_client import Encryption

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_TRIAL = b"does this store vouch for what it keeps?"


class Wish(TypedDict, total=False):
    """What CreateMultipartUpload is asked for."""

    ChecksumAlgorithm: Literal["CRC64NVME"]
    ChecksumType: Literal["FULL_OBJECT"]


class Question(TypedDict, total=False):
    """What HeadObject is asked for."""

    ChecksumMode: Literal["ENABLED"]


_WISH: Wish = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
_QUESTION: Question = {"ChecksumMode": "ENABLED"}
# Any other refusal is an answer.
_NO_ANSWERS = {408, 429, 500, 502, 503, 504}


class Crc64Nvme:
    """A CRC-64/NVME in the making, see `RunningDigest`."""

    def __init__(self, value: int = 0) -> None:
        self._value = value

    def update(self, data: memoryview) -> None:
        """Take the next bytes."""
        self._value = crc64nvme(data, self._value)

    def copy(self) -> Self:
        """Return one that goes on from here by itself."""
        return type(self)(self._value)

    def digest(self) -> str:
        """Return it as S3 writes it: base64 of the big-endian bytes."""
        return base64.b64encode(self._value.to_bytes(8, "big")).decode()


class S3Vouching:
    """What one S3 was found to do. Nothing is expected of it until `try_once` has seen it."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client, self._bucket = client, bucket
        self._lock = threading.Lock()
        self._is_known = False
        self.is_given = False
        """Whether the store vouches."""

    @property
    def wish(self) -> Wish:
        """What to ask for when a multipart upload begins."""
        return _WISH if self.is_given else {}

    @property
    def question(self) -> Question:
        """What to ask for when an object is looked at."""
        return _QUESTION if self.is_given else {}

    def try_once(self, encryption: Encryption) -> None:
        """Find out, unless it is known. A store that does not answer is asked again the next time. Raises nothing."""
        if not self._lock.acquire(blocking=False):
            return  # another thread is at it
        try:
            if not self._is_known:
                self.is_given = self._vouches(encryption)
                self._is_known = True
        except ClientError as error:
            self._is_known = error.response["ResponseMetadata"]["HTTPStatusCode"] not in _NO_ANSWERS
        except (BotoCoreError, ResponseParserError, KeyError, OSError):
            pass
        finally:
            self._lock.release()

    def _vouches(self, encryption: Encryption) -> bool:
        client, bucket, key = self._client, self._bucket, f"upload/vouching-{uuid.uuid4().hex}"
        upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **_WISH, **encryption)["UploadId"]
        try:
            # As parts are written: without a checksum of their own.
            etag = client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=_TRIAL)["ETag"]
            client.complete_multipart_upload(
                Bucket=bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]},
            )
        except BaseException:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
            raise
        try:
            digest = Crc64Nvme()
            digest.update(memoryview(_TRIAL))
            facts = client.head_object(Bucket=bucket, Key=key, **_QUESTION)
            return vouched_digest(facts) == digest.digest()
        finally:
            client.delete_object(Bucket=bucket, Key=key)


def vouched_digest(facts: "HeadObjectOutputTypeDef") -> str:
    """Return the CRC-64/NVME of the whole that a store tells of an object; empty where it tells none."""
    return facts.get("ChecksumCRC64NVME", "") if facts.get("ChecksumType") == "FULL_OBJECT" else ""
