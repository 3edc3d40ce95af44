"""The WWW-Authenticate header, which comes from outside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun.registry.challenges import Challenge, parse


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        ('Bearer realm="a" , Basic realm=b', [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        ('bearer REALM="a\\"b"', [("bearer", {"realm": 'a"b'})]),
        ("Negotiate", [("negotiate", {})]),
        ('Bearer realm="not closed', [("bearer", {"realm": "not closed"})]),
        ("", []),
        ('="x"', []),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse([header]) == [Challenge(*each) for each in expected]


def test_several_headers_are_one_list() -> None:
    assert [each.scheme for each in parse(["Basic realm=a", "Bearer realm=b"])] == ["basic", "bearer"]


@given(st.text(alphabet=' \t,="\\aZ%é', max_size=40))
def test_any_text_ends(text: str) -> None:
    parse([text])
