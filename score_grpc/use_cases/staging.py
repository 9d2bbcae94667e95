"""The staging of an upload in the store: begun where the ledger waits for it, and freed."""

from score_grpc.domain.uploads import Upload
from score_grpc.gateways.objects.port import Staging
from score_grpc.use_cases.environment import Environment


def stage(environment: Environment, upload_id: str, key: str, lost_token: str) -> bool:
    """Begin a staging in place of the lost one, without any part; an upload's first one follows the token "".

    The ledger knows the key before the store does: a staging that a dying process leaves behind is found by it. False
    if another call was faster. Raises UploadNotOpenError, UploadAbortedError, StoreUnavailableError, StoreFullError.
    """
    fresh = environment.store.begin(key)
    is_ours = False
    try:
        is_ours = environment.ledger.restage(upload_id, lost_token, fresh.token)
    finally:
        if not is_ours:
            environment.store.abort(fresh)
    return is_ours


def free(environment: Environment, upload: Upload) -> None:
    """Free what the store holds of an ABORTED upload, and note it. Repeating it changes nothing.

    Raises StoreUnavailableError.
    """
    environment.claims.drop_all(upload.upload_id)
    environment.hashing.forget(upload.upload_id)
    if upload.staging_token:  # else the store was never asked to begin it
        environment.store.abort(Staging(upload.staging_key, upload.staging_token))
    stored = environment.ledger.objects([upload.object_id]).get(upload.object_id)
    if stored is None or stored.store_key != upload.staging_key:
        environment.store.delete(upload.staging_key)  # of a completion under way, or one that led back to OPEN
    environment.ledger.note_freed(upload.upload_id)
