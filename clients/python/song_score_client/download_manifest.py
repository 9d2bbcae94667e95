"""Download manifests: 11 columns, as Overture's portal writes them and its clients read them."""

from collections.abc import Sequence

from song.v1.analysis_pb2 import Analysis
from song.v1.file_pb2 import File

from song_score_client.errors import LocalFileError
from song_score_client.index_files import index_name

COLUMNS = (
    "repo_code",
    "file_id",
    "object_id",
    "file_format",
    "file_name",
    "file_size",
    "md5_sum",
    "index_object_id",
    "donor_id/donor_count",
    "project_id/project_count",
    "study",
)
REPOSITORY = "song-score"


def format_download_manifest(analysis: Analysis, files: Sequence[File]) -> str:
    """Return the manifest of these files of the analysis. Raises LocalFileError for a name that can't stand in one."""
    by_name = {file.file_name: file.object_id for file in files}
    donors = sorted({sample.donor.donor_id for sample in analysis.samples})
    donor = donors[0] if len(donors) == 1 else str(len(donors))
    lines = ["\t".join(COLUMNS)]
    for file in files:
        index = index_name(file.file_name, by_name)
        cells = [
            REPOSITORY,
            file.object_id,
            file.object_id,
            file.file_type,
            file.file_name,
            str(file.size_bytes),
            file.md5,
            by_name[index] if index else "",
            donor,
            file.study_id,
            file.study_id,
        ]
        if any("\t" in cell or len(cell.splitlines()) > 1 for cell in cells):
            raise LocalFileError(f"{file.file_name!r}: a tab or a line break can't stand in a manifest")
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"
