"""What the benchmark of Song submits, and databases filled without Song."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, insert

from song_grpc.database import tables
from song_grpc.database.engine import Database

FILE_MD5 = "0" * 32
FILE_SIZE_BYTES = 1000
FIRST_TIME = 1_700_000_000_000_000
"""Of the first analysis of a filled study, in microseconds; each other one is a second later."""
SECOND = 1_000_000
ANALYSES_OF_A_DONOR = 10
FILL_SECONDS = 1800
"""At most, for one database."""
_BATCH = 5000
_numbers = count(time.time_ns() // 1000)

Row = dict[str, Any]


def payload(study_id: str, files: int = 2) -> str:
    """Return a typical payload: a sample, some files, ten dynamic values; unlike any other."""
    number = next(_numbers)
    return json.dumps(
        {
            "studyId": study_id,
            "analysisType": {"name": "sequencingRead"},
            "samples": [
                {
                    "submitterSampleId": f"SA{number}",
                    "sampleType": "Total DNA",
                    "matchedNormalSubmitterSampleId": None,
                    "specimen": {
                        "submitterSpecimenId": f"SP{number}",
                        "specimenTissueSource": "Skin",
                        "tumourNormalDesignation": "Normal",
                        "specimenType": "Normal",
                    },
                    "donor": {"submitterDonorId": f"DO{number}", "gender": "Female"},
                }
            ],
            "files": [
                {
                    "fileName": f"reads-{index}.bam",
                    "fileSize": FILE_SIZE_BYTES,
                    "fileType": "BAM",
                    "fileMd5sum": hashlib.md5(f"{number} {index}".encode(), usedforsecurity=False).hexdigest(),
                    "fileAccess": "open",
                    "dataType": "aligned reads",
                }
                for index in range(files)
            ],
            "experiment": _experiment(number),
        }
    )


def alike(text: str) -> str:
    """Return the payload with the bytes of every file the same, as the stand-in of Score has them."""
    document = json.loads(text)
    for file in document["files"]:
        file["fileMd5sum"] = FILE_MD5
    return json.dumps(document)


def _experiment(number: int) -> Row:
    return {
        "libraryStrategy": "WGS" if number % 2 else "RNA-Seq",
        "aligned": True,
        "pairedEnd": True,
        "alignmentTool": "bwa",
        "referenceGenome": "GRCh38",
        "insertSize": 300 + number % 100,
        "libraryId": f"L{number // 10}",
        "platform": "ILLUMINA",
        "coverage": 30.5,
        "lane": number % 8,
    }


def analysis_id(number: int) -> str:
    """Return the id of an analysis of a filled study, as random as a real one."""
    return str(UUID(hashlib.md5(f"analysis {number}".encode(), usedforsecurity=False).hexdigest(), version=4))


def fill(database: Database, study_id: str, total: int) -> float:
    """Add a study with so many analyses, nine of ten published, all placed in the events; return the seconds."""
    started = time.monotonic()
    with database.engine.connect() as connection:
        write = _writer(connection, is_sqlite=database.is_sqlite)
        write(tables.studies, [_study(study_id)])
        for first in range(0, total, _BATCH):
            if time.monotonic() > started + FILL_SECONDS:
                raise SystemExit(f"{first:,} of {total:,} analyses filled in {FILL_SECONDS} s: choose a smaller size")
            for table, rows in _rows(study_id, range(first, min(first + _BATCH, total))).items():
                write(table, rows)
        connection.commit()
        if not database.is_sqlite:
            connection.exec_driver_sql(_DATA_INDEX)
            connection.commit()
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return time.monotonic() - started


_DATA_INDEX = (
    "CREATE INDEX IF NOT EXISTS ix_analyses_data ON analyses USING gin (song_filterable(data_json) jsonb_path_ops)"
)


def _writer(connection: Connection, *, is_sqlite: bool) -> Callable[[Table, Sequence[Row]], None]:
    """Return what inserts rows: COPY on PostgreSQL, without looking up foreign keys; multi-row INSERT on SQLite."""
    if is_sqlite:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")

        def insert_rows(table: Table, rows: Sequence[Row]) -> None:
            connection.execute(insert(table), rows)

        return insert_rows
    connection.exec_driver_sql("SET session_replication_role = replica")
    connection.exec_driver_sql("DROP INDEX IF EXISTS ix_analyses_data")
    cursor: Any = connection.connection.cursor()

    def copy(table: Table, rows: Sequence[Row]) -> None:
        names = list(rows[0])
        with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as target:
            for row in rows:
                target.write_row([row[name] for name in names])

    return copy


def _study(study_id: str) -> Row:
    texts = dict.fromkeys(("name", "organization", "description", "info_json"), "")
    return {"study_id": study_id, **texts, "create_time": FIRST_TIME, "wire_bytes": 200, "visibility": "OPEN"}


def _rows(study_id: str, numbers: range) -> dict[Table, list[Row]]:
    rows: dict[Table, list[Row]] = {}
    for number in numbers:
        for table, row in _rows_of(study_id, number):
            rows.setdefault(table, []).append(row)
    return rows


def _rows_of(study_id: str, number: int) -> Iterator[tuple[Table, Row]]:
    own, donor = analysis_id(number), number // ANALYSES_OF_A_DONOR
    of_study = {"study_id": study_id}
    if number % ANALYSES_OF_A_DONOR == 0:
        yield tables.donors, of_study | _donor(donor)
        yield tables.specimens, of_study | _specimen(donor)
        yield tables.samples, of_study | _sample(donor)
    time_of = FIRST_TIME + number * SECOND
    state = "UNPUBLISHED" if number % 10 == 0 else "PUBLISHED"
    published = time_of + SECOND // 2 if state == "PUBLISHED" else None
    yield (
        tables.analyses,
        of_study
        | {
            "analysis_id": own,
            "state": state,
            "type_name": "sequencingRead",
            "type_version": 1,
            "data_json": json.dumps({"experiment": _experiment(number)}),
            "create_time": time_of,
            "update_time": published or time_of,
            "wire_bytes": 2000,
            "revision": 2 if published else 1,
            "first_publish_time": published,
            "publish_time": published,
        },
    )
    yield tables.analysis_samples, {"analysis_id": own, "position": 0, "sample_id": f"sample-{donor}"}
    for index in range(2):
        yield (
            tables.files,
            of_study
            | {
                "object_id": f"{own[:-1]}{index}-{number % 16:x}",
                "analysis_id": own,
                "file_name": f"reads-{index}.bam",
                "size_bytes": FILE_SIZE_BYTES,
                "file_type": "CRAM" if number % 10 == 1 else "BAM",
                "md5": hashlib.md5(f"{number} {index}".encode(), usedforsecurity=False).hexdigest(),
                "access": "open",
                "data_type": "aligned reads",
                "info_json": "",
                "wire_bytes": 300,
            },
        )
    changes = [(1, "SUBMIT", "UNPUBLISHED", time_of), (2, "PUBLISH", "PUBLISHED", published)]
    for revision, action, to_state, at in changes[: 2 if published else 1]:
        texts = {"actor": "benchmark", "reason": "", "subjects_json": "[]"}
        yield (
            tables.history,
            {"analysis_id": own, "revision": revision, "action": action, "state": to_state, "time": at, **texts},
        )


def _donor(number: int) -> Row:
    return {"donor_id": f"donor-{number}", "submitter_donor_id": f"DO{number}", "gender": "Female", "info_json": ""}


def _specimen(number: int) -> Row:
    return {
        "specimen_id": f"specimen-{number}",
        "donor_id": f"donor-{number}",
        "submitter_specimen_id": f"SP{number}",
        "tumour_normal_designation": "Normal",
        "specimen_tissue_source": "Skin",
        "specimen_type": "Normal",
        "info_json": "",
    }


def _sample(number: int) -> Row:
    return {
        "sample_id": f"sample-{number}",
        "specimen_id": f"specimen-{number}",
        "submitter_sample_id": f"SA{number}",
        "sample_type": "Total DNA",
        "matched_normal_submitter_sample_id": None,
        "info_json": "",
    }
