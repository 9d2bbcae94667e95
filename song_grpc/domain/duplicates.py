"""The duplicate guard: a study holds the same bytes once, unless the submitter says otherwise."""

from collections.abc import Collection, Mapping, Sequence

from song_grpc.domain.analysis import File
from song_grpc.domain.errors import LISTED_IDS, DuplicateFilesError

_SHOWN = 5
"""Files and analyses that the message names: metadata and violations have more."""


def check_duplicates(files: Sequence[File], holders: Mapping[str, Collection[str]]) -> None:
    """Raise DuplicateFilesError where a file's MD5 is held by other analyses; `holders`: MD5 to analysis ids."""
    offenders = [file for file in files if file.md5 in holders]
    if not offenders:
        return
    names = [file.file_name for file in offenders]
    analyses = sorted({analysis_id for file in offenders for analysis_id in holders[file.md5]})
    error = DuplicateFilesError(
        "the study has files with the same MD5 already: submit with allow_duplicates (--allow-duplicates) if they are "
        f"meant to be there twice; held by {_listed(analyses)}; the files: {_listed(names)}",
        file_names=",".join(names),
        file_count=str(len(names)),
        analysis_ids=",".join(analyses[:LISTED_IDS]),
        analysis_count=str(len(analyses)),
        violation_count=str(len(offenders)),
    )
    error.violations = [
        (file.file_name, f"MD5 {file.md5} is held by {', '.join(sorted(holders[file.md5])[:2])}") for file in offenders
    ]
    raise error


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
