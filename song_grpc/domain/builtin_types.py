"""The types that an empty database starts with."""

from collections.abc import Mapping
from typing import Any

_STRATEGIES = (*("WGS", "WXS", "RNA-Seq", "ChIP-Seq", "miRNA-Seq", "Bisulfite-Seq", "Validation", "Amplicon", "Other"),)

BUILTIN_TYPES: Mapping[str, dict[str, Any]] = {
    "sequencingRead": {
        "type": "object",
        "required": ["experiment"],
        "properties": {
            "experiment": {
                "type": "object",
                "required": ["libraryStrategy"],
                "properties": {
                    "libraryStrategy": {"type": "string", "enum": list(_STRATEGIES)},
                    "aligned": {"type": ["boolean", "null"]},
                    "pairedEnd": {"type": ["boolean", "null"]},
                    "alignmentTool": {"type": ["string", "null"]},
                    "referenceGenome": {"type": ["string", "null"]},
                    "insertSize": {"type": ["integer", "null"]},
                },
            },
        },
    },
    "variantCall": {
        "type": "object",
        "required": ["experiment"],
        "properties": {
            "experiment": {
                "type": "object",
                "required": ["variantCallingTool", "matchedNormalSampleSubmitterId"],
                "properties": {
                    "variantCallingTool": {"type": "string"},
                    "matchedNormalSampleSubmitterId": {"type": "string"},
                },
            },
        },
    },
}
