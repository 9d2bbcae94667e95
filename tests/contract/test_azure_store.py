"""What only the Azure store promises: blocks, conditions, credentials, and sense made of what Azure answers."""

import base64
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from score_grpc.domain.errors import ScoreError, StagingLostError, StoredBytesCorruptError, StoreUnavailableError
from score_grpc.gateways.objects.azure import STAGING_FOLDER, AzureObjectStore, AzureOptions
from score_grpc.gateways.objects.port import StagedPart, Staging
from score_grpc.settings import ScoreSettings
from score_grpc.stores import open_store
from tests.contract.stores import azure_options
from tests.servers.azurite import ACCOUNT, ACCOUNT_KEY, CONTAINER, Azurite, AzuriteMissingError, azurite_command

MIB = 1024 * 1024


@pytest.fixture
def key() -> str:
    return f"data/{uuid.uuid4()}"


@contextmanager
def opened(options: AzureOptions) -> Iterator[AzureObjectStore]:
    store = AzureObjectStore(options)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(azurite: Azurite) -> Iterator[AzureObjectStore]:
    with opened(azure_options(azurite)) as store:
        yield store


def write(store: AzureObjectStore, staging: Staging, number: int, offset: int, content: bytes) -> StagedPart:
    writer = store.open_part(staging, number, offset, len(content))
    try:
        writer.write(memoryview(content))
        return StagedPart(number, offset, len(content), writer.commit())
    finally:
        writer.discard()


def put(store: AzureObjectStore, key: str, content: bytes) -> tuple[Staging, StagedPart]:
    staging = store.begin(key)
    part = write(store, staging, 1, 0, content)
    store.assemble(staging, [part])
    return staging, part


def bytes_of(store: AzureObjectStore, key: str) -> bytes:
    stored = store.stat(key)
    assert stored is not None
    return b"".join(map(bytes, store.read(key, stored.version, 0, stored.size_bytes)))


def sas() -> str:
    return generate_container_sas(
        ACCOUNT,
        CONTAINER,
        ACCOUNT_KEY,
        permission=ContainerSasPermissions(read=True, create=True, write=True, delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


@pytest.mark.parametrize("kind", ["connection string", "connection string with a SAS", "SAS"])
def test_every_kind_of_credentials_stores_and_reads(azurite: Azurite, key: str, kind: str) -> None:
    endpoint = f"BlobEndpoint={azurite.endpoint}"
    options = {
        "connection string": AzureOptions(
            container=CONTAINER, connection_string=f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};{endpoint}"
        ),
        "connection string with a SAS": AzureOptions(
            container=CONTAINER, connection_string=f"{endpoint};SharedAccessSignature={sas()}"
        ),
        "SAS": azure_options(azurite, account_key=None, sas=f"?{sas()}"),
    }[kind]
    with opened(options) as store:
        store.check()
        put(store, key, b"abc")
        assert bytes_of(store, key) == b"abc"
        store.delete(key)
        assert store.stat(key) is None
        store.abort(store.begin(key))


def assert_private(error: BaseException) -> None:
    assert not re.search(r"sig=|https?:|AccountKey|" + re.escape(ACCOUNT_KEY[:20]), str(error))


def test_wrong_credentials_are_unavailable_and_stay_private(azurite: Azurite, key: str) -> None:
    another = base64.b64encode(b"another key").decode()
    staging = Staging(key, "0" * 32)
    with opened(azure_options(azurite, account_key=another)) as store:
        calls: list[Callable[[], object]] = [
            store.check,
            lambda: store.begin(key),
            lambda: write(store, staging, 1, 0, b"x"),
            lambda: store.assemble(staging, [StagedPart(1, 0, 1, "x")]),
            lambda: store.stat(key),
            lambda: next(store.read(key, '"x"', 0, 1)),
            lambda: store.delete(key),
            lambda: store.abort(staging),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailableError, match="403") as raised:
                call()
            assert_private(raised.value)
            assert another not in str(raised.value)


def test_the_options_show_no_secret(azurite: Azurite) -> None:
    options = azure_options(azurite, sas="sig=secret", connection_string=f"AccountKey={ACCOUNT_KEY}")
    assert ACCOUNT_KEY not in repr(options)
    assert "sig=secret" not in repr(options)


@pytest.mark.parametrize(
    "settings",
    [
        {"azure_container": ""},
        {"azure_account": "", "azure_key": ""},
        {"azure_key": ""},
        {"azure_key": "not base64!"},
        {"azure_connection_string": "nonsense"},
    ],
)
def test_settings_that_can_not_be_refuse_the_start(settings: dict[str, str]) -> None:
    known = {"store": "azure", "azure_container": "c", "azure_account": "account", "azure_key": "a2V5"}
    with pytest.raises(Exception, match="azure") as raised:
        open_store(ScoreSettings.model_validate(known | settings))
    assert type(raised.value).__name__ == "StartRefusedError"
    assert "not base64!" not in str(raised.value)


def test_a_container_that_is_missing_is_unavailable_and_no_missing_object(azurite: Azurite, key: str) -> None:
    with opened(azure_options(azurite, container="no-such-container")) as store:
        calls: list[Callable[[], object]] = [
            store.check,
            lambda: store.begin(key),
            lambda: store.stat(key),
            lambda: store.delete(key),
            lambda: store.abort(Staging(key, "0" * 32)),
            lambda: next(store.read(key, '"x"', 0, 1)),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailableError):
                call()


def test_nothing_is_written_over_an_object_that_came_in_between(store: AzureObjectStore, key: str) -> None:
    slow = store.begin(key)
    part = write(store, slow, 1, 0, b"slow")
    fast, _ = put(store, key, b"fast")
    with pytest.raises(ScoreError):
        store.assemble(slow, [part])
    assert bytes_of(store, key) == b"fast"
    # Nor over what was reopened, once another process has put something in its place.
    again, kept = store.reopen(fast, [StagedPart(1, 0, 4, "-")])
    store.delete(key)
    put(store, key, b"else")
    with pytest.raises(ScoreError):
        store.assemble(again, kept)
    assert bytes_of(store, key) == b"else"


def test_every_attempt_at_a_part_is_a_block_of_its_own(store: AzureObjectStore, azurite: Azurite, key: str) -> None:
    staging = store.begin(key)
    first, second = (write(store, staging, 1, 0, content) for content in (b"first", b"later"))
    assert first.etag != second.etag
    assert len(base64.b64encode(first.etag.encode())) <= 88, "Azure's bound: 64 bytes before base64"
    with azurite.client() as plain:
        _, blocks = plain.get_blob_client(key).get_block_list("all")
        assert len(blocks) == 2
        store.assemble(staging, [second])
        committed, blocks = plain.get_blob_client(key).get_block_list("all")
    assert ([block.id for block in committed], blocks) == ([second.etag], [])
    assert bytes_of(store, key) == b"later"


def test_a_part_that_comes_after_the_abort_leaves_no_block(store: AzureObjectStore, azurite: Azurite, key: str) -> None:
    staging = store.begin(key)
    late = store.open_part(staging, 1, 0, 3)
    late.write(memoryview(b"abc"))
    store.abort(staging)
    with pytest.raises(StagingLostError):
        late.commit()
    with azurite.client() as plain:
        assert list(plain.list_blobs(name_starts_with=key, include="uncommittedblobs")) == []
        assert list(plain.list_blobs(name_starts_with=f"{STAGING_FOLDER}/{key}/")) == []


def test_an_object_overwritten_behind_our_back_is_corrupt(store: AzureObjectStore, azurite: Azurite, key: str) -> None:
    put(store, key, b"abc")
    stored = store.stat(key)
    assert stored is not None
    with azurite.client() as plain:
        plain.upload_blob(key, b"xyz", overwrite=True)
    with pytest.raises(StoredBytesCorruptError):
        next(store.read(key, stored.version, 0, 3))


def test_a_connection_carries_part_after_part_and_reads(store: AzureObjectStore, key: str) -> None:
    put(store, key, b"abc")
    ((_, connection),) = store._connections._idle
    bytes_of(store, key)
    assert [kept for _, kept in store._connections._idle] == [connection]


def test_a_store_killed_in_mid_part_takes_the_part_again_once_it_is_back(tmp_path: Path, key: str) -> None:
    try:
        server = Azurite(azurite_command(), tmp_path)
    except AzuriteMissingError as error:
        pytest.skip(str(error))
    server.start()
    try:
        with opened(azure_options(server)) as store:
            staging = store.begin(key)
            writer = store.open_part(staging, 1, 0, 64 * MIB)
            writer.write(memoryview(bytes(MIB)))
            server.kill()

            def write_on() -> None:
                for _ in range(63):
                    writer.write(memoryview(bytes(MIB)))
                writer.commit()

            with pytest.raises(StoreUnavailableError) as raised:
                write_on()
            assert_private(raised.value)
            with pytest.raises(StoreUnavailableError) as raised:
                store.check()
            assert_private(raised.value)
            server.start()
            store.check()
            # The emulator may have forgotten, as it was killed; a staging of now it keeps.
            put(store, f"{key}.2", b"abc")
            assert bytes_of(store, f"{key}.2") == b"abc"
    finally:
        server.kill()


MEASURED = """
import os, re, sys
from pathlib import Path
from score_grpc.gateways.objects.azure import AzureObjectStore, AzureOptions
endpoint, container, key, account, account_key = sys.argv[1:]
store = AzureObjectStore(AzureOptions(
    container=container, endpoint_url=endpoint, account=account, account_key=account_key))
before = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
staging, chunk = store.begin(key), memoryview(os.urandom(1024 * 1024))
writer = store.open_part(staging, 1, 0, 256 * len(chunk))
for _ in range(256):
    writer.write(chunk)
writer.commit()
store.abort(staging)
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024 - before)
"""


def test_a_large_part_streams_in_flat_memory(azurite: Azurite, key: str) -> None:
    arguments = [azurite.endpoint, CONTAINER, key, ACCOUNT, ACCOUNT_KEY]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], check=True, capture_output=True, text=True, timeout=250
    )
    assert int(measured.stdout) < 64  # MiB more than before, for a part of 256
