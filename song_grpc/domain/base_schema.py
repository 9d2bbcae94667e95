"""The base schema: what every payload holds whatever its type. Draft-07, and valid 2020-12 as well.

Its public definitions refer to nothing, so that a type's schema can take each of them as it is.
"""

from collections.abc import Mapping
from typing import Any

from song_grpc.domain.analysis_type import EntityModel
from song_grpc.domain.limits import (
    MAX_DATA_TYPE_CHARS,
    MAX_FILE_NAME_CHARS,
    MAX_FILE_SIZE_BYTES,
    MAX_FILE_TYPE_CHARS,
    MAX_FILES,
    MAX_SAMPLES,
)

DRAFT_07 = "http://json-schema.org/draft-07/schema#"
MD5 = "^[a-fA-F0-9]{32}$"
SUBMITTER_ID = r"^[A-Za-z0-9\-\._]{1,64}$"
FILE_NAME = r"^[A-Za-z0-9_\.\-\[\]\(\)]+$"
FULL_MATCH_PATTERNS = frozenset({MD5, SUBMITTER_ID, FILE_NAME})
"""Their `$` means the very end, although Python's would let a newline follow."""

GENDERS = ("Male", "Female", "Other")
DESIGNATIONS = ("Normal", "Tumour")
SAMPLE_TYPES = (
    *("Total DNA", "Amplified DNA", "ctDNA", "Other DNA enrichments"),
    *("Total RNA", "Ribo-Zero RNA", "polyA+ RNA", "Other RNA fractions"),
)
TISSUE_SOURCES = (
    *("Blood derived", "Blood derived - bone marrow", "Blood derived - peripheral blood", "Bone marrow"),
    *("Buccal cell", "Lymph node", "Solid tissue", "Plasma", "Serum", "Urine", "Cerebrospinal fluid", "Sputum"),
    *("Other", "Pleural effusion", "Mononuclear cells from bone marrow", "Saliva", "Skin", "Intestine"),
    *("Buffy coat", "Stomach", "Esophagus", "Tonsil", "Spleen", "Bone", "Cerebellum", "Endometrium"),
)
SPECIMEN_TYPES = (
    *("Normal", "Normal - tissue adjacent to primary tumour", "Primary tumour"),
    *("Primary tumour - adjacent to normal", "Primary tumour - additional new primary", "Recurrent tumour"),
    *("Metastatic tumour", "Metastatic tumour - metastasis local to lymph node"),
    *("Metastatic tumour - metastasis to distant location", "Metastatic tumour - additional metastatic"),
    *("Xenograft - derived from primary tumour", "Xenograft - derived from tumour cell line"),
    *(
        "Cell line - derived from xenograft tumour",
        "Cell line - derived from tumour",
        "Cell line - derived from normal",
    ),
    "Tumour - unknown if derived from primary or metastatic",
    # Overture's own lists have an en dash in these two, and so do its users' payloads.
    "Cell line \N{EN DASH} derived from metastatic tumour",
    "Xenograft \N{EN DASH} derived from metastatic tumour",
)

Schema = dict[str, Any]

_FORBIDDEN: Schema = {"not": {}}
_INFO: Schema = {"type": "object"}
_MD5: Schema = {"type": "string", "pattern": MD5}
_SUBMITTER_ID: Schema = {"type": "string", "pattern": SUBMITTER_ID}
_FILE_TYPE: Schema = {"type": "string", "maxLength": MAX_FILE_TYPE_CHARS}
_FILE: Schema = {
    "type": "object",
    "required": ["dataType", "fileName", "fileSize", "fileType", "fileAccess", "fileMd5sum"],
    "properties": {
        "dataType": {"type": "string", "maxLength": MAX_DATA_TYPE_CHARS},
        "fileName": {"type": "string", "pattern": FILE_NAME, "maxLength": MAX_FILE_NAME_CHARS},
        "fileSize": {"type": "integer", "minimum": 0, "maximum": MAX_FILE_SIZE_BYTES},
        "fileType": _FILE_TYPE,
        "fileAccess": {"type": "string", "enum": ["open", "controlled"]},
        "fileMd5sum": _MD5,
        "info": _INFO,
    },
}


def _one_of(values: tuple[str, ...]) -> Schema:
    return {"type": "string", "enum": list(values)}


_DONOR: Schema = {
    "type": "object",
    "required": ["submitterDonorId", "gender"],
    "properties": {"submitterDonorId": _SUBMITTER_ID, "gender": _one_of(GENDERS), "info": _INFO},
}
_SPECIMEN: Schema = {
    "type": "object",
    "required": ["submitterSpecimenId", "specimenTissueSource", "tumourNormalDesignation", "specimenType"],
    "properties": {
        "submitterSpecimenId": _SUBMITTER_ID,
        "specimenTissueSource": _one_of(TISSUE_SOURCES),
        "tumourNormalDesignation": _one_of(DESIGNATIONS),
        "specimenType": _one_of(SPECIMEN_TYPES),
        "specimenClass": _FORBIDDEN,
        "info": _INFO,
    },
}
_SAMPLE: Schema = {
    "type": "object",
    "required": ["submitterSampleId", "sampleType", "specimen", "donor", "matchedNormalSubmitterSampleId"],
    "properties": {
        "submitterSampleId": _SUBMITTER_ID,
        "sampleType": _one_of(SAMPLE_TYPES),
        "specimen": _SPECIMEN,
        "donor": _DONOR,
        "info": _INFO,
    },
    "if": {"properties": {"specimen": {"properties": {"tumourNormalDesignation": {"const": "Tumour"}}}}},
    "then": {"properties": {"matchedNormalSubmitterSampleId": {"type": ["string", "null"], "pattern": SUBMITTER_ID}}},
    "else": {"properties": {"matchedNormalSubmitterSampleId": {"type": "null"}}},
}
_ANALYSIS_TYPE: Schema = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "version": {"type": ["integer", "null"]}},
}

PUBLIC_DEFINITIONS: Mapping[str, Schema] = {
    "common/md5": _MD5,
    "common/submitterId": _SUBMITTER_ID,
    "common/info": _INFO,
    "file/fileType": _FILE_TYPE,
    "file/fileData": _FILE,
    "donor/gender": _one_of(GENDERS),
    "donor/donorData": _DONOR,
    "specimen/specimenTissueSource": _one_of(TISSUE_SOURCES),
    "specimen/specimenType": _one_of(SPECIMEN_TYPES),
    "specimen/tumourNormalDesignation": _one_of(DESIGNATIONS),
    "specimen/specimenData": _SPECIMEN,
    "analysisType": _ANALYSIS_TYPE,
    "sample/sampleTypes": _one_of(SAMPLE_TYPES),
    "sample/sampleData": _SAMPLE,
}

# What every analysis has when it is read: a payload can't bring it.
_SERVER_MADE = (
    *("analysisId", "analysisState", "createdAt", "updatedAt", "firstPublishedAt", "publishedAt"),
    "analysisStateHistory",
)
_RESERVED = frozenset({"studyId", "analysisType", "analysisTypeId", "files", *_SERVER_MADE})


def reserved_properties(model: EntityModel) -> frozenset[str]:
    """Return the properties that no type may define."""
    return _RESERVED if model is EntityModel.NONE else _RESERVED | {"samples"}


def owned_properties(model: EntityModel) -> frozenset[str]:
    """Return the properties of a payload that are not dynamic data."""
    owned = {"studyId", "analysisType", "files"}
    return frozenset(owned if model is EntityModel.NONE else owned | {"samples"})


def base_schema(model: EntityModel, *, type_defines_samples: bool) -> Schema:
    """Return the base schema, a new object at its outer levels.

    Under NONE `samples` is the type's to define; where it does not, a payload has none.
    """
    properties: Schema = {
        "studyId": {"type": "string", "minLength": 1},
        "analysisType": {"$ref": "#/definitions/analysisType"},
        "files": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_FILES,
            "items": {"$ref": "#/definitions/file/fileData"},
        },
    }
    required = ["studyId", "analysisType", "files"]
    if model is EntityModel.DONOR_SPECIMEN_SAMPLE:
        required.insert(2, "samples")
        properties["samples"] = {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_SAMPLES,
            "items": {"$ref": "#/definitions/sample/sampleData"},
        }
    elif not type_defines_samples:
        properties["samples"] = _FORBIDDEN
    properties |= dict.fromkeys(_SERVER_MADE, _FORBIDDEN)
    return {
        "$schema": DRAFT_07,
        "type": "object",
        "definitions": nested_definitions(),
        "required": required,
        "properties": properties,
    }


def nested_definitions() -> Schema:
    """Return the public definitions as `definitions` holds them: `common/md5` is `{"common": {"md5": …}}`."""
    nested: Schema = {}
    for name, definition in PUBLIC_DEFINITIONS.items():
        group, _, member = name.rpartition("/")
        (nested.setdefault(group, {}) if group else nested)[member] = definition
    return nested
