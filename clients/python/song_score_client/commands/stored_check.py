"""`score verify --stored`: Score reads what it stores again, and this waits for what comes of it."""

from __future__ import annotations  # names that only types need are not imported

from functools import partial

from score.v1.stored_object_pb2 import StoredObject

from song_score_client.commands.copy_options import CopyOptions
from song_score_client.commands.exit_codes import ExitCode
from song_score_client.commands.score_session import ScoreSession
from song_score_client.commands.selection import chosen_object_ids
from song_score_client.commands.transfers import VERIFIED, run_transfers
from song_score_client.score import ScoreClient
from song_score_client.transfer.batch import Batch, Outcome, Receipt, Transfer
from song_score_client.transfer.listener import Listener
from song_score_client.transfer.stored_check import verify_stored


def check_stored(session: ScoreSession, chosen: CopyOptions, parallel: int, *, fail_fast: bool) -> ExitCode:
    """Have each object read again, and report. Raises ClientError."""
    object_ids = chosen_object_ids(session, chosen.object_ids, chosen.manifest, chosen.analysis_id, chosen.study_id)
    with session.open_score() as score:
        answer = score.batch_get_objects(object_ids, allow_unpublished=True)
        known = {stored.object_id: stored for stored in answer.stored_objects}
        transfers = []
        for object_id in object_ids:
            stored = known.get(object_id, StoredObject(object_id=object_id))
            name = stored.file_name or object_id
            transfers.append(Transfer(name, object_id, stored.size_bytes, partial(_verify, score, object_id)))
        batch = Batch(parallel, fail_fast=fail_fast)
        return run_transfers(batch, transfers, session.open_progress(), VERIFIED, _describe)


def _describe(outcome: Outcome, receipt: Receipt) -> str:
    return f"{outcome.transfer.name}: stored as it should be, MD5 {receipt.md5}, read again by Score"


def _verify(score: ScoreClient, object_id: str, listener: Listener) -> Receipt:
    stored = verify_stored(score, object_id, listener)
    return Receipt(0, stored.part_total, stored.part_total, stored.md5)
