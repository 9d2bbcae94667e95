"""See and abort uploads."""

from collections.abc import Sequence

from score_grpc.domain.access import Action, Principal
from score_grpc.domain.uploads import Upload, UploadPart
from score_grpc.gateways.objects.port import Staging
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.permission import permit_object


def get_upload(
    environment: Environment, principal: Principal, upload_id: str, after_part: int, limit: int
) -> tuple[Upload, Sequence[UploadPart]]:
    """Return an upload and its persisted parts with numbers above `after_part`, at most `limit`.

    Raises UploadNotFoundError, ScopeMissingError, SongUnavailableError.
    """
    upload = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, Action.MANAGE_UPLOAD, upload.object_id)
    return upload, environment.ledger.parts(upload_id, after_part, limit)


def abort_upload(environment: Environment, principal: Principal, upload_id: str) -> Upload:
    """Give an upload up and free what it holds. Aborting an aborted one succeeds.

    Raises UploadNotFoundError, UploadNotOpenError, ScopeMissingError, SongUnavailableError, StoreUnavailableError.
    """
    known = environment.ledger.upload(upload_id)
    permit_object(environment.registry, principal, Action.MANAGE_UPLOAD, known.object_id)
    aborted = environment.ledger.abort(upload_id)
    environment.claims.drop_all(upload_id)
    environment.hashing.forget(upload_id)
    environment.store.abort(Staging(aborted.staging_key, aborted.staging_token))
    environment.store.delete(aborted.staging_key)  # of a completion under way; the key is this upload's alone
    return aborted
