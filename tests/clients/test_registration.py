from __future__ import annotations

import pytest
from song.v1.analysis_type_pb2 import ENTITY_MODEL_NONE
from song_score_client.errors import LocalFileError
from song_score_client.registration import parse_registration


def test_the_schema_keeps_its_numbers() -> None:
    registration = parse_registration('{"name": "x", "schema": {"maximum": 0.10}}', "x.json")
    assert "0.10" in registration.schema_json
    assert registration.options is None


def test_options_left_out_are_inherited_and_an_empty_list_clears() -> None:
    text = '{{"name": "x", "schema": {{}}, "options": {}}}'
    inherited = parse_registration(text.format('{"fileTypes": null, "entityModel": "NONE"}'), "x.json").options
    cleared = parse_registration(text.format('{"fileTypes": [], "externalValidations": []}'), "x.json").options
    limited = parse_registration(text.format('{"fileTypes": ["BAM"]}'), "x.json").options
    assert inherited is not None
    assert cleared is not None
    assert limited is not None
    assert not inherited.HasField("file_types")
    assert inherited.entity_model == ENTITY_MODEL_NONE
    assert cleared.HasField("file_types")
    assert list(limited.file_types.names) == ["BAM"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "not a JSON object"),
        ('{"name": 1, "schema": {}}', '"name" must be a string'),
        ('{"name": "x"}', '"schema" an object'),
        ('{"name": "x", "schema": {}, "more": 1}', "more, which this version does not know"),
        ('{"name": "x", "schema": {}, "options": {"externalValidations": [{}]}}', '"url" and "jsonPath"'),
        ('{"name": "x", "schema": {}, "options": {"externalValidations": [1]}}', "must hold objects"),
        ('{"name": "x", "schema": {}, "options": {"externalValidations": {}}}', "must be a list"),
        ('{"name": "x", "schema": {}, "options": {"externalIds": [1]}}', "externalIds, which"),
        ('{"name": "x", "schema": {}, "options": {"entityModel": "SOME"}}', "must be one of"),
        ('{"name": "x", "schema": {}, "options": {"entityModel": ["NONE"]}}', "must be one of"),
        ('{"name": "x", "schema": {}, "options": {"fileTypes": "BAM"}}', "must be a list"),
        ('{"name": "x", "schema": {}, "options": {"fileTypes": [1]}}', "must hold strings"),
        ('{"name": "x", "schema": {}, "options": []}', '"options" must be an object'),
    ],
)
def test_mistakes_are_named_with_the_file(text: str, message: str) -> None:
    with pytest.raises(LocalFileError, match=f"x.json: .*{message}"):
        parse_registration(text, "x.json")
