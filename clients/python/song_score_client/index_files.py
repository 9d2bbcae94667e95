"""Which file is the index of which: by their names, in any case, within one analysis."""

from collections.abc import Iterable, Mapping

_APPENDED = ("crai", "bai", "tbi", "idx", "csi")
"""`sample.bam.bai`: of any file."""
_REPLACED: Mapping[str, tuple[str, ...]] = {
    ".bam": ("bai", "csi"),
    ".cram": ("crai",),
    ".bcf": ("csi",),
    ".vcf": ("idx", "tbi", "csi"),
    ".vcf.gz": ("tbi", "csi", "idx"),
}
"""`sample.bai` of `sample.bam`: endings of files whose index may stand in place of their own ending."""
_COMPRESSED = ".gz"
_READS = (".fastq.gz", ".fq.gz")


def may_have_index(file_name: str) -> bool:
    """Whether a file of this name may have an index: `.bam`, `.cram`, `.vcf`, `.bcf`, and what tabix reads."""
    name = file_name.lower()
    return name.endswith((*_REPLACED, _COMPRESSED)) and not name.endswith(_READS)


def index_name(file_name: str, names: Iterable[str]) -> str | None:
    """Return which of the names is that of the file's index; None if none is. The appended form wins."""
    known = {name.lower(): name for name in names}
    return next((known[candidate] for candidate in _candidates(file_name.lower()) if candidate in known), None)


def _candidates(name: str) -> list[str]:
    found = [f"{name}.{ending}" for ending in _APPENDED]
    for ending, indexes in _REPLACED.items():
        if name.endswith(ending):
            found += [f"{name.removesuffix(ending)}.{index}" for index in indexes]
            # `a.vcf.tbi` of `a.vcf.gz`
            found += [f"{name.removesuffix(_COMPRESSED)}.{index}" for index in indexes if name.endswith(_COMPRESSED)]
    return found
