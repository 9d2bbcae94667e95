"""URLs with places: values never leave theirs."""

from urllib.parse import unquote, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from song_grpc.domain import url_templates

TEMPLATE = "https://host.example:8443/a/{study}/b?c={value}&d=1"
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=30)


@given(TEXTS, TEXTS)
@example("..", "a&d=2#x")
@example("{value}", "{study}")
def test_values_stay_in_their_places(study: str, value: str) -> None:
    assert url_templates.problem(TEMPLATE, ("study", "value")) == ""
    parts = urlsplit(url_templates.fill(TEMPLATE, {"study": study, "value": value}))
    assert (parts.netloc, parts.fragment) == ("host.example:8443", "")
    assert parts.path.split("/")[3:] == ["b"]
    assert unquote(parts.path.split("/")[2]) == study
    assert parts.path.split("/")[2] not in {".", ".."}
    first, second = parts.query.split("&")
    assert (unquote(first), second) == (f"c={value}", "d=1")


def test_every_place_is_needed_and_no_other_brace_is_taken() -> None:
    for template in ("https://h/{a}", "https://h/{a}{b}{c}", "https://h/{a}/{b}/{", "https://h/{a}/{b}{}", ""):
        assert url_templates.problem(template, ("a", "b"))
    assert not url_templates.problem("https://h/{a}{b}/{a}", ("a", "b"))
