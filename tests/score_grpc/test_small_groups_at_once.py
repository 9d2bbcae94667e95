"""Two processes that store the same small objects at the same moment wait for each other, and no more than that."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from runtime_grpc.database import Database
from score_grpc.assembly import MIGRATIONS
from score_grpc.database.small_objects import SmallObjects
from score_grpc.domain.audit import Asker
from score_grpc.domain.layout import Layout
from score_grpc.domain.stored_objects import StoredObject, Verification
from score_grpc.domain.uploads import Upload, UploadState
from tests.servers.postgresql import new_database

OBJECTS = 200
ROUNDS = 5


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Database(new_database(request))
    database.upgrade(MIGRATIONS)
    yield database
    database.close()


def upload_of(object_id: str) -> Upload:
    now = datetime.now(UTC)
    return Upload(
        upload_id=str(uuid4()),
        object_id=object_id,
        study_id="ABC",
        analysis_id="an-analysis",
        file_name=object_id,
        state=UploadState.OPEN,
        size_bytes=0,
        expected_md5="d41d8cd98f00b204e9800998ecf8427e",
        part_size_bytes=1,
        staging_key="",
        staging_token="",
        persisted_part_total=0,
        persisted_size_bytes=0,
        hashed_size_bytes=0,
        last_failure=None,
        create_time=now,
        update_time=now,
    )


def stored_by(upload: Upload) -> StoredObject:
    return StoredObject(
        object_id=upload.object_id,
        generation=1,
        upload_id=upload.upload_id,
        study_id=upload.study_id,
        analysis_id=upload.analysis_id,
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        md5=upload.expected_md5,
        verification=Verification.VERIFIED,
        part_size_bytes=upload.part_size_bytes,
        store_key=upload.staging_key,
        store_version="",
        create_time=upload.create_time,
    )


def test_groups_of_the_same_objects_complete_whatever_order_their_rows_have(database: Database) -> None:
    for turn in range(ROUNDS):
        ids = [f"object-{turn}-{number:03}" for number in range(OBJECTS)]
        processes = [SmallObjects(database, owner, Layout()) for owner in ("one", "other")]
        # One by one, so that the rows of the one lie in the reverse order of the other's.
        orders = (ids, ids[::-1])
        reserved = [
            [upload for object_id in order for upload in process.reserve([upload_of(object_id)])]
            for process, order in zip(processes, orders, strict=True)
        ]
        both = threading.Barrier(2)

        def complete(process: SmallObjects, uploads: Sequence[Upload]) -> Mapping[str, StoredObject]:
            found = [(stored_by(upload), None) for upload in uploads]
            both.wait()  # noqa: B023 - the pool is empty before the next turn
            return process.complete(found, Asker("somebody"))

        with ThreadPoolExecutor(2) as pool:
            visible = list(pool.map(complete, processes, reserved))
        assert sorted([*visible[0], *visible[1]]) == ids
