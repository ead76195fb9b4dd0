from __future__ import annotations

import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamable_http.server import templates


def match(template: str, uri: str) -> dict[str, str] | None:
    return templates.parse(template, label="it").match(uri)


@pytest.mark.parametrize(
    ("template", "uri", "expected"),
    [
        ("books://{isbn}", "books://978", {"isbn": "978"}),
        ("books://{isbn}", "books://", None),
        ("books://{isbn}", "book://978", None),
        ("books://{isbn}", "books://9/8", None),
        ("test://template/{id}/data", "test://template/123/data", {"id": "123"}),
        ("test://template/{id}/data", "test://template//data", None),
        ("test://template/{id}/data", "test://template/123/data/", None),
        ("test://template/{id}/data", "test://template/data", None),
        ("x://{a}-{b}", "x://1-2-3", {"a": "1", "b": "2-3"}),
        ("x://{a}-{b}", "x://-1-2", {"a": "-1", "b": "2"}),
        ("x://{a}-{b}", "x://1-", None),
        ("x://{a}/{b}", "x://1/2", {"a": "1", "b": "2"}),
        ("x://{a}/{b}", "x://1/2/3", None),
        ("files://{+path}", "files://a/b.txt", {"path": "a/b.txt"}),
        ("files:///{+path}", "files:///etc/a", {"path": "etc/a"}),
        ("x://{name}", "x://a:b", {"name": "a:b"}),
        ("x://{+path}", "x://shelf/a:b", {"path": "shelf/a:b"}),
        ("x://{+path}", "x://ab:c", {"path": "ab:c"}),
        ("files://{+path}", "files://", None),
        ("files://{+path}/end", "files://a/end/end", {"path": "a/end"}),
        ("x://{a}/{+rest}", "x://1/2/3", {"a": "1", "rest": "2/3"}),
        ("x://{name}", "x://J%C3%BCrgen%20", {"name": "Jürgen "}),
        ("x://{name}", "x://100%25", {"name": "100%"}),
        ("x://{name}", "x://100%", {"name": "100%"}),
        ("x://{name}", "x://%zz", {"name": "%zz"}),
        ("x://{name}", "x://a..b", {"name": "a..b"}),
        ("x://{name}", "x://a.b", {"name": "a.b"}),
        ("x://{name}?", "x://1?", {"name": "1"}),
    ],
)
def test_variables_are_what_stands_in_their_place(template, uri, expected):
    assert match(template, uri) == expected


@pytest.mark.parametrize("template", ["x://{name}", "x://{+name}"])
@pytest.mark.parametrize(
    "value",
    [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "%25252e%25252e",
        "..%2fetc",
        "..%5cetc",
        "a%5cb",
        "a\\b",
        "\\\\host\\share",
        "a%00b",
        "a\0b",
        "a%2500b",
        "%ff",
        "%c0%ae%c0%ae",
        "%" + "25" * 50 + "2e",
    ],
)
def test_nothing_leads_out_of_its_place(template, value):
    assert match(template, f"x://{value}") is None


@pytest.mark.parametrize("value", ["a/../b", "../a", "a/..", "a/%2e%2e/b", "a/./b", "a%2f..%2fb"])
def test_path_has_no_dot_segments(value):
    assert match("x://{+path}", f"x://{value}") is None


@pytest.mark.parametrize(
    "value",
    [
        "/etc",
        "%2Fetc",
        "%252Fetc",
        "//host/share",
        "C:",
        "C:/Windows",
        "c:secret",
        "c%3Asecret",
        "%43%3A/Windows",
        "%2543%253a/Windows",
    ],
)
def test_row_52_path_is_never_absolute_however_it_is_written(value):
    assert match("x://{+path}", f"x://{value}") is None
    assert match("x://{a}/{+path}", f"x://a/{value}") is None


@pytest.mark.parametrize("value", ["a/b", "a%2fb", "a%2Fb", "a%252fb", "/a", "//"])
def test_segment_has_no_slash_however_it_is_written(value):
    assert match("x://{name}", f"x://{value}") is None


def test_path_may_have_encoded_slashes():
    assert match("x://{+path}", "x://a%2fb") == {"path": "a/b"}


def test_long_uri_matches_nothing():
    assert match("x://{name}", "x://" + "a" * templates.MAX_URI_CHARACTERS) is None


def test_matching_takes_time_in_proportion_to_the_length():
    template = templates.parse("x://" + "a".join(f"{{+v{n}}}" for n in range(20)) + "!", label="it")
    started = time.process_time()
    assert template.match("x://" + "a" * (templates.MAX_URI_CHARACTERS - 4)) is None
    # A backtracking matcher would be at it for years.
    assert time.process_time() - started < 1


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_expanded_values_come_back_unless_they_are_refused(first, second):
    uri = f"x://{urllib.parse.quote(first, safe='')}/{urllib.parse.quote(second, safe='')}"
    assert match("x://{a}/{b}", uri) in ({"a": first, "b": second}, None)
    if first.isalnum() and second.isalnum():
        assert match("x://{a}/{b}", uri) is not None


@given(st.text(alphabet="a%25eEfF0cC./\\\0", max_size=40))
def test_no_value_has_what_leads_elsewhere(raw):
    found = match("x://{name}", f"x://{raw}")
    if found is not None:
        value = found["name"]
        for _ in range(5):
            assert not {"/", "\\", "\0"} & set(value)
            assert value not in (".", "..")
            value = urllib.parse.unquote(value)


def test_template_knows_its_variables():
    template = templates.parse("x://{a}/{+b}!", label="it")
    assert template.names == ("a", "b")
    assert template.text == "x://{a}/{+b}!"
    assert template.prefix == "x://"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x://{a", "it: a brace without its other half"),
        ("x://a}", "it: a brace without its other half"),
        ("x://{a}}", "it: a brace without its other half"),
        ("x://{a}{b}", "it: two variables without a character between them cannot be told apart"),
        ("x://{a}/{a}", "it: the variable 'a' stands in it twice"),
        ("x://{?q}", "it: '{?q}' is not supported; use {name} for one segment"),
        ("x://{}", "it: '{}' is not supported"),
        ("x://{a,b}", "it: '{a,b}' is not supported"),
        ("x://{a*}", "it: '{a*}' is not supported"),
        ("x://{ä}", "it: '{ä}' is not supported"),
    ],
)
def test_template_that_says_more_is_refused_with_the_reason(text, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        templates.parse(text, label="it")
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(("uri", "expected"), [("x://a", False), ("x://{a}", True), ("x://}", True)])
def test_braces_make_a_template(uri, expected):
    assert templates.is_template(uri) is expected
