"""The duplicate guard: a study holds the same bytes once, unless the submitter says otherwise."""

from collections.abc import Collection, Mapping, Sequence

from song_grpc.domain.analysis import File
from song_grpc.domain.errors import LISTED_IDS, DuplicateFilesError


def check_duplicates(files: Sequence[File], holders: Mapping[str, Collection[str]]) -> None:
    """Raise DuplicateFilesError where a file's MD5 is held by other analyses; `holders`: MD5 to analysis ids."""
    offenders = [file for file in files if file.md5 in holders]
    if not offenders:
        return
    names = [file.file_name for file in offenders]
    analyses = sorted({analysis_id for file in offenders for analysis_id in holders[file.md5]})
    error = DuplicateFilesError(
        f"the study has files with the same MD5 already: {', '.join(names)}; submit with allow_duplicates if they "
        f"are meant to be there twice; held by {', '.join(analyses[:LISTED_IDS])}",
        file_names=",".join(names),
        file_count=str(len(names)),
        analysis_ids=",".join(analyses[:LISTED_IDS]),
        analysis_count=str(len(analyses)),
    )
    error.violations = [
        (file.file_name, f"MD5 {file.md5} is held by {', '.join(sorted(holders[file.md5])[:2])}") for file in offenders
    ]
    raise error
