"""Create, get, list and update studies."""

from collections.abc import Sequence

from song_grpc.database import locks, requests, studies
from song_grpc.domain import access, etags, ids, paging, update_masks
from song_grpc.domain.access import Action, Facts, Principal
from song_grpc.domain.errors import StudyExistsError, StudyNotFoundError
from song_grpc.domain.requests import request_key
from song_grpc.domain.study import UPDATABLE, Study, create_study, update_study
from song_grpc.use_cases.environment import Environment

_LIST_SCOPE = ("studies",)


def create(environment: Environment, principal: Principal, wanted: Study, request_id: str) -> Study:
    """Create a study; `create_time` of the wanted one is ignored."""
    access.require(principal, Action.WRITE_STUDY, Facts(study_id=wanted.study_id))
    content: list[str | bool | list[str] | None] = [wanted.study_id, wanted.name, wanted.organization]
    content += [wanted.description, wanted.info_json, wanted.visibility.value]
    key = request_key(principal.name, "CreateStudy", request_id, content)
    study = create_study(wanted, environment.now())
    with environment.database.write() as connection:
        locks.lock_new_studies(connection)
        known = studies.find(connection, study.study_id)
        if requests.find(connection, key) is not None and known is not None:
            return known
        if known is not None:
            raise StudyExistsError(study.study_id)
        studies.add(connection, study)
        requests.add(connection, key, {"study_id": study.study_id}, study.create_time)
    return study


def get(environment: Environment, principal: Principal, study_id: str) -> Study:
    """Return a study. Raises StudyNotFoundError."""
    access.require(principal, Action.READ_CATALOGUE, Facts(study_id=study_id))
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with environment.database.read() as connection:
        study = studies.find(connection, study_id)
    if study is None:
        raise StudyNotFoundError(study_id)
    return study


def update(environment: Environment, principal: Principal, wanted: Study, etag: str, fields: Sequence[str]) -> Study:
    """Change the named fields of a study, paths of an update mask, and return it. Raises StudyNotFoundError."""
    study_id = wanted.study_id
    access.require(principal, Action.UPDATE_STUDY, Facts(study_id=study_id))
    named = update_masks.read(fields, UPDATABLE)
    etags.require(etag, "study.etag")
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with environment.database.write() as connection:
        known = studies.find(connection, study_id, lock=True)
        if known is None:
            raise StudyNotFoundError(study_id)
        etags.check(etag, known.etag, f"study '{study_id}'")
        updated = update_study(known, wanted, named)
        if updated != known:
            studies.save(connection, updated)
    return updated


def list_ids(environment: Environment, principal: Principal, page: paging.PageRequest) -> tuple[Sequence[str], str]:
    """Return a page of the ids of studies, in their order, and the token of the next."""
    access.require(principal, Action.READ_CATALOGUE, Facts())
    limit = page.limit
    after = paging.read_token(page.token, _LIST_SCOPE, (str,))
    with environment.database.read() as connection:
        rows = studies.list_after(connection, None if after is None else str(after[0]), limit + 1)
    shown = rows[:limit]
    return [str(row.key[0]) for row in shown], paging.next_token(_LIST_SCOPE, rows, shown)


def list_page(environment: Environment, principal: Principal, page: paging.PageRequest) -> tuple[Sequence[Study], str]:
    """Return a page of studies in the order of their ids, and the token of the next."""
    access.require(principal, Action.READ_CATALOGUE, Facts())
    limit = page.limit
    after = paging.read_token(page.token, _LIST_SCOPE, (str,))
    with environment.database.read() as connection:
        rows = studies.list_after(connection, None if after is None else str(after[0]), limit + 1)
        shown = paging.cut(rows, limit)
        found = studies.read(connection, str(shown[0].key[0]), str(shown[-1].key[0])) if shown else []
    return found, paging.next_token(_LIST_SCOPE, rows, shown)
