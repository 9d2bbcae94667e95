"""See and abort uploads."""

from collections.abc import Sequence

from score_grpc.domain.access import Action, Principal
from score_grpc.domain.uploads import AbortReason, Upload, UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit_object
from score_grpc.use_cases.staging import free


def get_upload(
    environment: Environment, principal: Principal, upload_id: str, after_part: int, limit: int
) -> tuple[Upload, Sequence[UploadPart]]:
    """Return an upload and its persisted parts with numbers above `after_part`, at most `limit`.

    Raises UploadNotFoundError, ScopeMissingError, SongUnavailableError.
    """
    upload = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, Action.INSPECT, upload.object_id)
    return upload, environment.ledger.parts(upload_id, after_part, limit)


def abort_upload(environment: Environment, principal: Principal, upload_id: str) -> Upload:
    """Give an upload up and free what it holds. Aborting an aborted one succeeds.

    Raises UploadNotFoundError, UploadNotOpenError, ScopeMissingError, SongUnavailableError, StoreUnavailableError.
    """
    known = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, Action.MANAGE_UPLOAD, known.object_id)
    aborted = environment.ledger.abort(upload_id, AbortReason.CALLER)
    free(environment, aborted)
    return aborted
