from __future__ import annotations

from pathlib import Path

import pytest
from song_score_client.configuration import load_configuration, parse_address
from song_score_client.errors import ConfigurationError
from song_score_client.transports import Transport


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "song-score" / "config.toml"
    path.parent.mkdir()
    path.write_text(
        """
        [song]
        url = "from-file:1"
        study_id = "FILE"
        access_token = "file-secret"

        [profile.staging.song]
        url = "from-profile:1"
        """
    )
    return path


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(file: Path) -> None:
    home = {"XDG_CONFIG_HOME": str(file.parent.parent)}
    environment = home | {"SONG_URL": "from-environment:1", "SONG_STUDY_ID": "ENVIRONMENT"}
    configuration = load_configuration({"song.study_id": "FLAG"}, environment)
    assert configuration.study_id == "FLAG"
    assert configuration.song_address == "from-environment:1"
    assert configuration.song_token == "file-secret"
    assert configuration.score_address == "localhost:50052"
    assert configuration.values["song.url"].source == "SONG_URL"
    assert load_configuration({}, home).song_address == "from-file:1"
    assert load_configuration({}, {"XDG_CONFIG_HOME": "/nowhere"}).song_address == "localhost:50051"


def test_a_profile_replaces_only_what_it_says(file: Path) -> None:
    configuration = load_configuration({}, {}, path=file, profile="staging")
    assert configuration.song_address == "from-profile:1"
    assert configuration.study_id == "FILE"


def test_names_of_overture_are_understood_after_our_own() -> None:
    environment = {
        "XDG_CONFIG_HOME": "/nowhere",
        "CLIENT_SERVER_URL": "http://song.example.org:8080",
        "CLIENT_STUDY_ID": "OLD",
        "SONG_STUDY_ID": "NEW",
        "ACCESSTOKEN": "both",
        "CLIENT_ACCESS_TOKEN": "song",
        "STORAGE_URL": "http://score.example.org",
    }
    configuration = load_configuration({}, environment)
    assert configuration.song_address == "http://song.example.org:8080"
    assert configuration.score_address == "http://score.example.org"
    assert configuration.study_id == "NEW"
    assert (configuration.song_token, configuration.score_token) == ("song", "both")


def test_an_empty_variable_counts_as_not_set() -> None:
    configuration = load_configuration({}, {"XDG_CONFIG_HOME": "/nowhere", "SONG_URL": ""})
    assert configuration.values["song.url"].source == "default"


def test_a_missing_study_says_where_to_set_it() -> None:
    with pytest.raises(ConfigurationError, match="SONG_STUDY_ID"):
        _ = load_configuration({}, {"XDG_CONFIG_HOME": "/nowhere"}).study_id


def test_tokens_are_never_printed(file: Path) -> None:
    configuration = load_configuration({}, {}, path=file)
    assert configuration.shown("song.access_token") == "********"
    assert configuration.shown("score.access_token") is None
    assert "file-secret" not in repr(configuration)


def test_a_line_break_after_a_token_is_dropped_and_one_inside_refused_without_showing_it() -> None:
    environment = {"XDG_CONFIG_HOME": "/nowhere", "SONG_ACCESS_TOKEN": "secret\n", "SCORE_ACCESS_TOKEN": "sec\nret"}
    configuration = load_configuration({}, environment)
    assert configuration.song_token == "secret"
    with pytest.raises(ConfigurationError, match="SCORE_ACCESS_TOKEN") as caught:
        _ = configuration.score_token
    assert "ret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("song = 1", "there is no setting song;"),
        ("[song]\nurll = 'x'", "no setting song.urll"),
        ("[song]\nurl = 1", "must be a string"),
        ("[song", "not valid TOML"),
    ],
)
def test_a_file_with_mistakes_is_refused_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_configuration({}, {}, path=path)


def test_a_named_file_or_profile_must_exist(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="no configuration file"):
        load_configuration({}, {}, path=file.with_name("other.toml"))
    with pytest.raises(ConfigurationError, match="no profile 'production'"):
        load_configuration({}, {}, path=file, profile="production")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:1234", "localhost:1234"),
        ("grpc://song.example.org:1234", "song.example.org:1234"),
        ("http://10.0.0.1:1234/", "http://10.0.0.1:1234"),
        ("https://song.example.org", "https://song.example.org"),
        ("song.example.org", "song.example.org:50051"),
        ("[::1]:1234", "[::1]:1234"),
    ],
)
def test_addresses_may_have_a_scheme_and_leave_the_port_out(text: str, address: str) -> None:
    assert parse_address(text, "50051", "flag") == address


@pytest.mark.parametrize(
    "text", ["https://", "ftp://a:1", "a:b", "a:99999", "http://a:1/path", "grpc://", "u@a:1", "[::1", ":p@a:1"]
)
def test_what_is_no_address_is_refused_naming_where_it_came_from(text: str) -> None:
    with pytest.raises(ConfigurationError, match="SONG_URL"):
        parse_address(text, "50051", "SONG_URL")


def test_a_password_in_an_address_is_neither_shown_nor_named() -> None:
    configuration = load_configuration({}, {"XDG_CONFIG_HOME": "/nowhere", "SONG_URL": "http://user:secret@h:1"})
    assert configuration.shown("song.url") == "http://********@h:1"
    with pytest.raises(ConfigurationError) as caught:
        _ = configuration.song_address
    assert "secret" not in str(caught.value)


def test_transport_and_http_side_come_from_anywhere_a_setting_may() -> None:
    environment = {"XDG_CONFIG_HOME": "/nowhere", "SCORE_HTTP": "https://h:8443", "SCORE_CA_FILE": "~/ca.pem"}
    configuration = load_configuration({"score.transport": "SIGNED"}, environment)
    assert configuration.score_transport is Transport.SIGNED
    assert configuration.score_http == "https://h:8443"
    assert configuration.score_ca_file == Path.home() / "ca.pem"
    bare = load_configuration({}, {"XDG_CONFIG_HOME": "/nowhere"})
    assert (bare.score_transport, bare.score_http, bare.score_ca_file) == (Transport.AUTO, "", None)


@pytest.mark.parametrize(
    ("name", "read"),
    [("score.transport", "score_transport"), ("score.http", "score_http")],
)
def test_what_is_no_transport_and_no_http_address_is_refused_naming_the_flag(name: str, read: str) -> None:
    with pytest.raises(ConfigurationError, match="flag"):
        getattr(load_configuration({name: "host:1"}, {"XDG_CONFIG_HOME": "/nowhere"}), read)
