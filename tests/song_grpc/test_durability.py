"""Whatever a caller was told is stored survives the death of the server."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
from song.v1 import (
    analysis_service_pb2,
    analysis_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
)
from sqlalchemy import select

from runtime_grpc.database import Database
from song_grpc.database import tables
from tests.song_grpc.world import payload


def start(folder: Path, url: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server process; return it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "song_grpc", "--port", "0", "--data-dir", str(folder), "--database-url", url],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if '"listening"' in line:
            return process, json.loads(line)["address"]
    raise AssertionError("the server did not start")


def test_an_acknowledged_submission_and_its_event_survive_kill_nine(folder: Path, own_database_url: str) -> None:
    process, address = start(folder, own_database_url)
    with grpc.insecure_channel(address) as channel:
        studies = study_service_pb2_grpc.StudyServiceStub(channel)
        studies.CreateStudy(
            study_service_pb2.CreateStudyRequest(study=study_pb2.Study(study_id="S")), wait_for_ready=True
        )
        request = analysis_service_pb2.SubmitAnalysisRequest(study_id="S", payload_json=json.dumps(payload("S")))
        analysis_id = analysis_service_pb2_grpc.AnalysisServiceStub(channel).SubmitAnalysis(request).analysis_id
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    process, address = start(folder, own_database_url)
    with grpc.insecure_channel(address) as channel:
        analyses = analysis_service_pb2_grpc.AnalysisServiceStub(channel)
        get = analysis_service_pb2.GetAnalysisRequest(study_id="S", analysis_id=analysis_id)
        assert analyses.GetAnalysis(get, wait_for_ready=True).analysis.analysis_id == analysis_id
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0

    database = Database(own_database_url or f"sqlite:///{folder / 'song.db'}")
    with database.read() as connection:
        (event,) = connection.execute(select(tables.outbox)).all()
    database.close()
    assert (event.analysis_id, event.action) == (analysis_id, "CREATE")
