"""Find analyses by ids of what belongs to them."""

from collections.abc import Sequence

from song_grpc.database import analyses, searching, studies
from song_grpc.database.engine import Connection
from song_grpc.domain import access, ids, paging, read_masks
from song_grpc.domain.access import Principal
from song_grpc.domain.analysis import Analysis
from song_grpc.domain.errors import ParameterError, StudyNotFoundError
from song_grpc.domain.id_search import IdKind, IdMatch, IdSearch
from song_grpc.domain.limits import MAX_SEARCHED_IDS
from song_grpc.domain.ordering import Ordering
from song_grpc.domain.search_patterns import IdPattern
from song_grpc.use_cases.analysis_pages import read_page, shown_to, visible_fields, visible_states
from song_grpc.use_cases.environment import Environment


def search_page(
    environment: Environment,
    principal: Principal,
    study_id: str,
    search: IdSearch,
    page: paging.PageRequest,
    fields: frozenset[str] = read_masks.ALL,
) -> tuple[Sequence[Analysis], frozenset[str], str]:
    """Return a page of the analyses found, which of the wanted fields it shows, and the token of the next."""
    limit = page.limit
    search.check()
    patterns = {kind: IdPattern(kind.value, text) for kind, text in search.texts.items()} if _is_regex(search) else {}
    texts = sorted((kind.value, text) for kind, text in search.texts.items())
    scope = ("search", study_id, search.match.value, *(part for pair in texts for part in pair))
    after = paging.read_token(page.token, scope, (int, str))
    if not ids.can_exist(study_id):
        raise StudyNotFoundError(study_id)
    with environment.database.read() as connection:
        visibility = studies.find_visibility(connection, study_id)
        if visibility is None:
            raise StudyNotFoundError(study_id)
        shown = visible_fields(principal, study_id, visibility, fields)
        if search.needs_data and not access.may_see_data(principal, study_id, visibility):
            return [], shown, ""
        if search.match is IdMatch.EXACT:
            possible = all(ids.can_exist(text) for text in search.texts.values())
            condition = searching.has_exactly(study_id, search.texts) if possible else None
        else:
            keys = _find_keys(connection, study_id, search, patterns)
            condition = None if keys is None else searching.has_keys(connection, keys)
        if condition is None:
            return [], shown, ""
        walks = dict.fromkeys(visible_states(principal, study_id), condition)
        rows = analyses.list_after(connection, study_id, walks, Ordering(), after, limit + 1, starts_with_ids=True)
        found = read_page(connection, rows, limit, shown)
    return [shown_to(principal, one) for one in found], shown, paging.next_token(scope, rows, rows[: len(found)])


def _is_regex(search: IdSearch) -> bool:
    return search.match is IdMatch.REGEX


def _find_keys(
    connection: Connection, study_id: str, search: IdSearch, patterns: dict[IdKind, IdPattern]
) -> dict[IdKind, Sequence[str]] | None:
    """Return the keys of what each condition matches; None where one of them matches nothing."""
    found: dict[IdKind, Sequence[str]] = {}
    for kind, text in search.texts.items():
        if _is_regex(search):
            keys = _keys_of_pattern(connection, study_id, kind, patterns[kind])
        elif ids.can_exist(text):
            keys = searching.keys_with_prefix(connection, study_id, kind, text, MAX_SEARCHED_IDS + 1)
        else:
            return None
        if len(keys) > MAX_SEARCHED_IDS:
            raise ParameterError(kind.value, f"more than {MAX_SEARCHED_IDS} ids match: give more of the id")
        if not keys:
            return None
        found[kind] = keys
    return found


def _keys_of_pattern(connection: Connection, study_id: str, kind: IdKind, pattern: IdPattern) -> Sequence[str]:
    keys: list[str] = []
    for identifier, key in searching.walk(connection, study_id, kind):
        if pattern.finds(identifier):
            keys.append(key)
            if len(keys) > MAX_SEARCHED_IDS:
                break
    return keys
