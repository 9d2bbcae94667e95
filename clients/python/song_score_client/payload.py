"""Builds payloads, as `song submit` sends them: the fixed members by name, the dynamic data as they are."""

import hashlib
from pathlib import Path
from typing import Any, Self

from song_score_client.errors import LocalFileError
from song_score_client.exact_json import dump

_KINDS = {
    ".bam": "BAM",
    ".bai": "BAI",
    ".cram": "CRAM",
    ".crai": "CRAI",
    ".vcf": "VCF",
    ".tbi": "TBI",
    ".fastq": "FASTQ",
    ".fq": "FASTQ",
    ".fasta": "FASTA",
    ".fa": "FASTA",
    ".fai": "FAI",
    ".idx": "IDX",
    ".xml": "XML",
    ".tgz": "TGZ",
    ".txt": "TXT",
}


class PayloadBuilder:
    """A payload in the making. What is wrong with it, Song says: nothing is checked here but local files."""

    def __init__(self, study_id: str, type_name: str, type_version: int | None = None) -> None:
        """Begin a payload of a type; without version it is the latest when submitted."""
        kind: dict[str, Any] = {"name": type_name}
        if type_version is not None:
            kind["version"] = type_version
        self._document: dict[str, Any] = {"studyId": study_id, "analysisType": kind, "files": []}

    def add_file(
        self,
        path: Path,
        *,
        access: str = "controlled",
        data_type: str,
        file_type: str | None = None,
        md5: str | None = None,
        info: dict[str, Any] | None = None,
    ) -> Self:
        """Add a file with its size and MD5, which is computed (the file is read whole) unless given.

        The file type is guessed from the name's ending, `.gz` left aside. Raises LocalFileError.
        """
        try:
            size_bytes = path.stat().st_size
            if md5 is None:
                with path.open("rb") as stream:
                    md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise LocalFileError(f"can't read {path}: {error.strerror}") from None
        if file_type is None:
            endings = [ending.lower() for ending in path.suffixes if ending.lower() != ".gz"]
            file_type = _KINDS.get(endings[-1] if endings else "", "")
            if not file_type:
                raise LocalFileError(f"{path}: its file type can't be guessed from the name: give file_type")
        file = {
            "fileName": path.name,
            "fileSize": size_bytes,
            "fileMd5sum": md5,
            "fileType": file_type,
            "fileAccess": access,
            "dataType": data_type,
        }
        self._document["files"].append(file | ({"info": info} if info else {}))
        return self

    def add_sample(
        self,
        submitter_sample_id: str,
        sample_type: str,
        *,
        specimen: dict[str, Any],
        donor: dict[str, Any],
        matched_normal_submitter_sample_id: str | None = None,
        info: dict[str, Any] | None = None,
    ) -> Self:
        """Add a sample with its specimen and donor, whose members are named as in the payload."""
        sample = {
            "submitterSampleId": submitter_sample_id,
            "sampleType": sample_type,
            "matchedNormalSubmitterSampleId": matched_normal_submitter_sample_id,
            "specimen": specimen,
            "donor": donor,
        }
        self._document.setdefault("samples", []).append(sample | ({"info": info} if info else {}))
        return self

    def set_data(self, **members: Any) -> Self:  # noqa: ANN401 - JSON values
        """Set members of the dynamic data, for example `experiment={...}`."""
        self._document |= members
        return self

    def to_json(self) -> str:
        """Return the payload as JSON text."""
        return dump(self._document)
