"""See, list and abort uploads."""

from collections.abc import Sequence
from dataclasses import replace

from score_grpc.database.rows import microseconds
from score_grpc.domain.access import Action, Principal, require_all_studies, require_inspection
from score_grpc.domain.paging import PageRequest, page_end
from score_grpc.domain.uploads import LIVE, AbortReason, Upload, UploadFilter, UploadPart
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.objects import require_filter
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


def list_uploads(
    environment: Environment, principal: Principal, wanted: UploadFilter, page: PageRequest
) -> tuple[Sequence[Upload], str]:
    """Return a page of uploads, newest first, and where it ended: empty on the last. No states mean the live ones.

    Raises FieldInvalidError, PageTokenInvalidError, ScopeMissingError.
    """
    ids = {"study_id": wanted.study_id, "analysis_id": wanted.analysis_id, "object_id": wanted.object_id}
    for field, value in ids.items():
        require_filter(field, value)
    if wanted.study_id:
        require_inspection(principal, wanted.study_id)
    else:
        require_all_studies(principal, "list uploads")
    if not wanted.states:
        wanted = replace(wanted, states=frozenset(LIVE))
    query = ["uploads", *ids.values(), *sorted(state.value for state in wanted.states)]
    limit = page.limit
    found = environment.lists.uploads(wanted, page.after(query), limit + 1)
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], page_end(query, (microseconds(last.create_time), last.upload_id))
