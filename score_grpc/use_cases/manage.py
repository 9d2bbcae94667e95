"""See and abort uploads."""

from collections.abc import Sequence

from score_grpc.database.ledger import Ledger
from score_grpc.domain.access import Action, Principal
from score_grpc.domain.uploads import Upload, UploadPart
from score_grpc.gateways.objects.port import ObjectStore, Staging
from score_grpc.gateways.registry import Registry
from score_grpc.use_cases.claims import Claims
from score_grpc.use_cases.hashing import Hashing
from score_grpc.use_cases.permission import permit_object


def get_upload(
    ledger: Ledger, registry: Registry, principal: Principal, upload_id: str, after_part: int, limit: int
) -> tuple[Upload, Sequence[UploadPart]]:
    """Return an upload and its persisted parts with numbers above `after_part`, at most `limit`.

    Raises UploadNotFoundError, ScopeMissingError, SongUnavailableError.
    """
    upload = ledger.upload(upload_id)
    permit_object(registry, principal, Action.MANAGE_UPLOAD, upload.object_id)
    return upload, ledger.parts(upload_id, after_part, limit)


def abort_upload(
    ledger: Ledger,
    store: ObjectStore,
    registry: Registry,
    claims: Claims,
    hashing: Hashing,
    principal: Principal,
    upload_id: str,
) -> Upload:
    """Give an upload up and free what it holds. Aborting an aborted one succeeds.

    Raises UploadNotFoundError, UploadNotOpenError, ScopeMissingError, SongUnavailableError, StoreUnavailableError.
    """
    known = ledger.upload(upload_id)
    permit_object(registry, principal, Action.MANAGE_UPLOAD, known.object_id)
    aborted = ledger.abort(upload_id)
    claims.drop_all(upload_id)
    hashing.forget(upload_id)
    store.abort(Staging(aborted.staging_key, aborted.staging_token))
    store.delete(aborted.staging_key)  # of a completion that was under way; the key is this upload's alone
    return aborted
