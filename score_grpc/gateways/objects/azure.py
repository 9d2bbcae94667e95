"""The object store in a container of Azure Blob Storage.

    <container>/<key>                     an assembled object: a block blob; before that, its uncommitted blocks
    <container>/upload/<key>/<staging>    an empty blob, there as long as the staging is

A part is one block of the object's own blob, and its etag the block's id, which is made of the staging, the part and
a number of this attempt: whoever writes a part again makes another block, and assembly names the one that counts.
Assembly commits the list of blocks, which Azure does whole or not at all; blocks not in the list are gone then. It
writes only what was under the key when the staging began: nothing, or exactly the object that was reopened.

The bytes of a part are pushed into one signed PUT while they arrive, see `http_streams.py`. Rights of a SAS: read,
create, write, delete, list.
"""

import base64
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobBlock,
    BlobClient,
    BlobSasPermissions,
    BlobServiceClient,
    ExponentialRetry,
    generate_blob_sas,
)

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
    ATTEMPTS,
    CONNECT_TIMEOUT_SECONDS,
    FIRST_PAUSE_SECONDS,
    PROGRESS_TIMEOUT_SECONDS,
    Answer,
    Body,
    Connections,
    HttpPartWriter,
    read_pieces,
    skipped_bytes,
    unreachable,
)
from score_grpc.gateways.objects.port import StagedPart, Staging, StoredBytes, StorePart

SIGNATURE_SECONDS = 900
"""How long the signature of a part or a read holds: it is used at once, but clocks differ."""
STAGING_FOLDER = "upload"

# On the object, the staging it was assembled from: by that a repeated assembly knows its own work.
_STAGING_KEY = "staging"
# 400: a block of the list is not there. 409, 412: something else is under the key by now.
_REFUSED_COMMITS = {400, 409, 412}
_RETRIED_STATUSES = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureOptions:
    """Where the container is and who we are there: a connection string, or an account with its key or a SAS."""

    container: str
    connection_string: str | None = field(default=None, repr=False)
    account: str | None = None
    account_key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    """A shared access signature of the container or of the account, with or without the question mark."""
    endpoint_url: str | None = None
    """None means `https://<account>.blob.core.windows.net`; emulators want `http://<host>:<port>/<account>`."""
    ca_file: Path | None = None
    """PEM file of the authorities to trust; None means the public ones."""
    progress_timeout_seconds: float = PROGRESS_TIMEOUT_SECONDS


class AzureObjectStore:
    """Keeps objects in one container, which must exist. Several processes may share it.

    Raises ValueError where the options can't be.
    """

    is_exclusive = False
    signs_parts = False

    def __init__(self, options: AzureOptions) -> None:
        tls = ssl.create_default_context(cafile=str(options.ca_file) if options.ca_file else None)
        self._connections = Connections(tls, options.progress_timeout_seconds)
        self._service = _service(options)
        self._container = self._service.get_container_client(options.container)
        self._account_key = _account_key(self._service)

    def begin(self, key: str) -> Staging:
        """See `ObjectStore.begin`."""
        stored = self.stat(key)
        staging = Staging(key, f"{uuid.uuid4().hex} {stored.version if stored else ''}".strip())
        with _store_errors(f"Beginning {key}"):
            # Not conditional: the name is new, and a first try whose answer was lost may have made it.
            self._blob(_marker_of(staging)).upload_blob(b"", overwrite=True)
        return staging

    def open_part(self, staging: Staging, part_number: int, offset: int, size_bytes: int) -> HttpPartWriter:  # noqa: ARG002 - the list of blocks orders the parts, the local store does it by offset
        """See `ObjectStore.open_part`. That the staging is lost shows when the part is committed."""
        doing = f"Writing part {part_number} of {staging.key}"
        # Azure wants ids of one length within a blob.
        block_id = f"{_name_of(staging)}-{part_number:05d}-{uuid.uuid4().hex[:8]}"
        block = quote(base64.b64encode(block_id.encode()), safe="")
        # Never in an error or a log: who holds the URL can write the part.
        url = f"{self._signed_url(staging.key, BlobSasPermissions(write=True))}&comp=block&blockid={block}"
        with _store_errors(doing):
            connection = self._connections.send("PUT", url, {"Content-Length": str(size_bytes)})

        def etag_of(answer: Answer) -> str:
            if answer.status != 201 or answer.error_code or not answer.is_whole:  # noqa: PLR2004 - Created
                code = answer.headers.get("x-ms-error-code") or answer.error_code or "and no whole answer"
                raise _refusal(doing, answer.status, code)
            # Azure takes blocks at any time, so a late one must be refused here.
            if self.stat(_marker_of(staging)) is None:
                with suppress(ScoreError):
                    self._drop_blocks(staging)
                raise StagingLostError(f"{doing}: the store no longer knows the staging.")
            return block_id

        return HttpPartWriter(self._connections, connection, doing, size_bytes, etag_of)

    def read_staged(self, staging: Staging, offset: int, size_bytes: int) -> None:
        """See `ObjectStore.read_staged`: Azure shows no byte of an uncommitted block."""

    def assemble(self, staging: Staging, parts: Sequence[StagedPart]) -> StoredBytes:
        """See `ObjectStore.assemble`."""
        key, size_bytes = staging.key, sum(part.size_bytes for part in parts)
        with _store_errors(f"Assembling {key}"):
            stored = self._assembled(staging, size_bytes)
            if stored is None:
                if self.stat(_marker_of(staging)) is None:
                    raise StagingLostError(f"The store holds neither a staging nor the object {key}.")
                self._demand_parts(staging, parts)
                try:
                    self._blob(key).commit_block_list(
                        [BlobBlock(part.etag) for part in parts],
                        metadata={_STAGING_KEY: _name_of(staging)},
                        **_only_over(staging),
                    )
                except HttpResponseError as error:
                    if error.status_code not in _REFUSED_COMMITS:
                        raise
                    # Either a first try whose answer was lost did it, or another process, or it can't be done.
                    stored = self._assembled(staging, size_bytes)
                    if stored is None:
                        self._demand_parts(staging, parts)
                        raise
            stored = stored or self._assembled(staging, size_bytes)
            if stored is None:
                raise StagingLostError(f"{key} was assembled, and is gone from the store or has other bytes.")
            self._delete(_marker_of(staging))
        return stored

    def reopen(self, staging: Staging, parts: Sequence[StagedPart]) -> tuple[Staging, Sequence[StagedPart]]:
        """See `ObjectStore.reopen`. The object stays, and the next assembly names its blocks again: no copy."""
        stored = self.stat(staging.key)
        if stored is None or stored.size_bytes != sum(part.size_bytes for part in parts):
            raise StagingLostError(f"The store holds neither a staging nor the object {staging.key}.")
        return self.begin(staging.key), parts

    def abort(self, staging: Staging) -> None:
        """See `ObjectStore.abort`. Blocks that wait beside an object of the same key go with it, or after a week."""
        with _store_errors(f"Aborting {staging.key}"):
            # First, so that nobody adds to the blocks.
            self._delete(_marker_of(staging))
        self._drop_blocks(staging)

    def stagings(self, prefix: str, begun_before: datetime) -> Iterator[Staging]:
        """See `ObjectStore.stagings`. They come without the etag of what they would replace: enough to abort them."""
        with _store_errors("Looking through the stagings"):
            for blob in self._container.list_blobs(name_starts_with=f"{STAGING_FOLDER}/{prefix}"):
                key, _, name = blob.name.removeprefix(f"{STAGING_FOLDER}/").rpartition("/")
                if key and blob.last_modified < begun_before:
                    yield Staging(key, name)

    def stat(self, key: str) -> StoredBytes | None:
        """See `ObjectStore.stat`."""
        found = self._properties(key)
        return None if found is None else found[0]

    def read(self, key: str, version: str, offset: int, size_bytes: int) -> Iterator[memoryview]:
        """See `ObjectStore.read`."""
        doing, end = f"Reading {key}", offset + size_bytes

        def open_range(position: int) -> tuple[Body, int]:
            response, connection = self._get(key, {"Range": f"bytes={position}-{end - 1}", "If-Match": version}, doing)
            code = response.headers.get("x-ms-error-code", "")
            body = _AzureBody(self._connections, connection, response)
            if response.status in {404, 412, 416} and code != "ContainerNotFound":
                body.close()
                raise StoredBytesCorruptError(f"{key} is gone from the store, has other bytes or fewer than {end}.")
            if response.status not in {200, 206}:
                body.close()
                raise _refusal(doing, response.status, code)
            skipped = skipped_bytes(response.headers.get("Content-Range"), position)
            if response.headers.get("ETag") != version or (response.length or 0) < skipped + end - position:
                body.close()
                raise StoredBytesCorruptError(f"{key} has other bytes in the store, or fewer than {end}.")
            return body, skipped

        return read_pieces(open_range, offset, size_bytes, doing)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with _store_errors(f"Deleting {key}"):
            self._delete(key)

    def list_parts(self, staging: Staging, after: int = 0) -> Iterator[StorePart]:  # noqa: ARG002 - as the port has it
        """See `ObjectStore.list_parts`: no part comes by a signed URL."""
        return iter(())

    def sign_part(self, staging: Staging, part_number: int, size_bytes: int, md5: str, lifetime: timedelta) -> None:
        """See `ObjectStore.sign_part`: a signature can't be limited to one block, nor to an MD5."""

    def sign_read(
        self,
        key: str,
        version: str,
        byte_range: tuple[int, int] | None,
        lifetime: timedelta,
    ) -> SignedRequest | None:
        """See `ObjectStore.sign_read`. None with a SAS of ours, which may do more than read one object.

        The range is no part of the signature: whoever may read a range may read the whole.
        """
        if self._account_key is None:
            return None
        expire_time = datetime.now(UTC).replace(microsecond=0) + lifetime
        url = self._signed_url(key, BlobSasPermissions(read=True), expire_time)
        if byte_range is None:
            return SignedRequest("GET", url, {}, expire_time)
        first, length = byte_range
        headers = {"Range": f"bytes={first}-{first + length - 1}", "If-Match": version}
        return SignedRequest("GET", url, headers, expire_time)

    def put(self, key: str, data: Sequence[memoryview]) -> StoredBytes:
        """See `ObjectStore.put`. Azure checks the MD5 that goes with the bytes."""
        body = b"".join(data)
        with _store_errors(f"Storing {key}"):
            answer = self._blob(key).upload_blob(body, overwrite=True, validate_content=True)
        return StoredBytes(len(body), str(answer["etag"]))

    def passing_digest(self) -> None:
        """See `ObjectStore.passing_digest`: Azure computes none of a whole."""

    def free_bytes(self) -> None:
        """See `ObjectStore.free_bytes`: a container has no such limit."""

    def check(self) -> None:
        """See `ObjectStore.check`. Asks for a blob that is not there: a SAS may not ask for the container."""
        self.stat(f"{STAGING_FOLDER}/check")

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._connections.close()
        self._service.close()

    def _blob(self, key: str) -> BlobClient:
        return self._container.get_blob_client(key)

    def _properties(self, key: str) -> tuple[StoredBytes, str] | None:
        """Return what is under the key, and the staging it was assembled from."""
        with _store_errors(f"Looking for {key}"):
            try:
                facts = self._blob(key).get_blob_properties()
            except ResourceNotFoundError as error:
                _demand_container(error)
                return None
        return StoredBytes(facts.size, str(facts.etag)), (facts.metadata or {}).get(_STAGING_KEY, "")

    def _assembled(self, staging: Staging, size_bytes: int) -> StoredBytes | None:
        found = self._properties(staging.key)
        if found is None or found[1] != _name_of(staging) or found[0].size_bytes != size_bytes:
            return None
        return found[0]

    def _demand_parts(self, staging: Staging, parts: Sequence[StagedPart]) -> None:
        """Raise PartsLostError unless each part's block is there, in its size."""
        held = {(block.id, block.size) for blocks in self._blocks(staging.key) for block in blocks}
        lost = [part.part_number for part in parts if (part.etag, part.size_bytes) not in held]
        if lost:
            raise PartsLostError(f"{len(lost)} parts of {staging.key} are gone from the store, or differ.", lost)

    def _blocks(self, key: str) -> tuple[Sequence[BlobBlock], Sequence[BlobBlock]]:
        """Return the committed and the uncommitted blocks under the key."""
        try:
            return self._blob(key).get_block_list("all")
        except ResourceNotFoundError as error:
            _demand_container(error)
            return [], []

    def _drop_blocks(self, staging: Staging) -> None:
        """Free the blocks of a staging, where they are all there is under its key.

        Azure drops uncommitted blocks only all together: a list of none is committed, and the empty blob deleted.
        """
        with _store_errors(f"Freeing {staging.key}"):
            _, uncommitted = self._blocks(staging.key)
            if not uncommitted or not all(block.id.startswith(_name_of(staging)) for block in uncommitted):
                return
            blob = self._blob(staging.key)
            try:
                emptied = blob.commit_block_list([], match_condition=MatchConditions.IfMissing)
                blob.delete_blob(etag=str(emptied["etag"]), match_condition=MatchConditions.IfNotModified)
            except HttpResponseError as error:
                # Something else is under the key by now.
                if error.status_code not in {404, 409, 412}:
                    raise

    def _delete(self, key: str) -> None:
        try:
            self._blob(key).delete_blob()
        except ResourceNotFoundError as error:
            _demand_container(error)

    def _get(self, key: str, headers: Mapping[str, str], doing: str) -> tuple[HTTPResponse, HTTPConnection]:
        """Open a GET, trying again where that may help; the answer may still be a refusal."""
        url = self._signed_url(key, BlobSasPermissions(read=True))
        failures = 0
        while True:
            is_last = failures == ATTEMPTS - 1
            try:
                connection = self._connections.send("GET", url, headers)
                try:
                    response = connection.getresponse()
                except BaseException:
                    connection.close()
                    raise
                if is_last or response.status not in _RETRIED_STATUSES:
                    return response, connection
                connection.close()
            except (HTTPException, OSError) as error:
                if is_last:
                    raise unreachable(doing, error) from error
            time.sleep(FIRST_PAUSE_SECONDS * 2**failures)
            failures += 1

    def _signed_url(self, key: str, permission: BlobSasPermissions, expire_time: datetime | None = None) -> str:
        blob = self._blob(key)
        if self._account_key is None:
            return blob.url
        signature = generate_blob_sas(
            str(blob.account_name),
            blob.container_name,
            key,
            account_key=self._account_key,
            permission=permission,
            expiry=expire_time or datetime.now(UTC) + timedelta(seconds=SIGNATURE_SECONDS),
        )
        return f"{blob.url}?{signature}"


class _AzureBody:
    """The body of a GET; a connection whose body was read to its end carries the next request."""

    def __init__(self, connections: Connections, connection: HTTPConnection, response: HTTPResponse) -> None:
        self._connections, self._connection, self._response = connections, connection, response

    def readinto(self, buffer: memoryview, /) -> int:
        return self._response.readinto(buffer)

    def close(self) -> None:
        if self._response.isclosed():
            self._connections.keep(self._connection)
        else:
            self._response.close()
            self._connection.close()


def _service(options: AzureOptions) -> BlobServiceClient:
    kwargs: dict[str, Any] = {
        "retry_policy": ExponentialRetry(
            initial_backoff=1, increment_base=2, retry_total=ATTEMPTS - 1, random_jitter_range=1
        ),
        "transport": RequestsTransport(
            connection_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=options.progress_timeout_seconds,
            connection_verify=str(options.ca_file) if options.ca_file else True,
            # Parts go straight to the store, so everything does.
            use_env_settings=False,
        ),
    }
    if options.connection_string:
        service = BlobServiceClient.from_connection_string(options.connection_string, **kwargs)
    else:
        if not (options.account and (options.account_key or options.sas)):
            raise ValueError("an Azure store needs a connection string, or an account with its key or a SAS")
        url = options.endpoint_url or f"https://{options.account}.blob.core.windows.net"
        credential = AzureNamedKeyCredential(options.account, options.account_key) if options.account_key else None
        service = BlobServiceClient(url, credential=credential or options.sas, **kwargs)
    try:
        base64.b64decode(_account_key(service) or "", validate=True)
    except ValueError:
        raise ValueError("the Azure account's key is no base64") from None
    return service


def _account_key(service: BlobServiceClient) -> str | None:
    """Return the key that signs, None with a SAS, which the URLs carry by themselves."""
    return getattr(service.credential, "account_key", None)


def _name_of(staging: Staging) -> str:
    return staging.token.partition(" ")[0]


def _marker_of(staging: Staging) -> str:
    return f"{STAGING_FOLDER}/{staging.key}/{_name_of(staging)}"


def _only_over(staging: Staging) -> dict[str, Any]:
    """Return the condition under which a staging's object may be written."""
    etag = staging.token.partition(" ")[2]
    if etag:
        return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    return {"match_condition": MatchConditions.IfMissing}


def _demand_container(error: ResourceNotFoundError) -> None:
    if _code_of(error) == "ContainerNotFound":
        raise error


def _code_of(error: HttpResponseError) -> str:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return headers.get("x-ms-error-code", "")


@contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise _refusal(doing, error.status_code or 0, _code_of(error)) from error
    except (AzureError, HTTPException, OSError) as error:
        raise unreachable(doing, error) from error


def _refusal(doing: str, status: int, code: str) -> ScoreError:
    """Say what an answer of the store means; its own words may hold more than a caller should see."""
    if status == 507:  # noqa: PLR2004 - Insufficient Storage
        return StoreFullError(f"{doing}: no space left in the object store. Persisted parts are kept.")
    if status == 403:  # noqa: PLR2004 - Forbidden
        return StoreUnavailableError(
            f"{doing}: the object store refuses this server ({status} {code}): check its credentials, its clock and "
            "its rights."
        )
    return StoreUnavailableError(f"{doing}: the object store answered {status} {code}.")
