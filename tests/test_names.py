"""Names of containers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun import names
from hyrun.errors import InvalidArgument


def test_generated_names_are_valid_and_differ() -> None:
    made = {names.generate() for _ in range(200)}
    for name in made:
        assert names.check(name) == name
        adjective, underscore, noun = name.partition("_")
        assert underscore
        assert adjective.isalpha()
        assert noun.isalpha()
    assert len(made) > 150


def test_there_are_ten_thousand_names() -> None:
    adjectives, nouns = names._ADJECTIVES.split(), names._NOUNS.split()
    assert min(len(adjectives), len(nouns)) >= 100
    assert len(set(adjectives)) == len(adjectives)
    assert len(set(nouns)) == len(nouns)


@pytest.mark.parametrize("name", ["ab", "a1", "0.", "web_1", "Web.x-y", "a" * names.MAX_NAME])
def test_dockers_names_are_taken(name: str) -> None:
    assert names.check(name) == name


_SENTENCE = r"^Invalid container name \(.*\), only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\]"
_BAD = ["", "a", ".", "..", ".a", "-a", "_a", "a/b", "/a", "../x", "a b", "a\n", "ä1", "a\0", "a:b"]


@pytest.mark.parametrize("name", _BAD)
def test_other_names_are_refused_with_dockers_sentence(name: str) -> None:
    with pytest.raises(InvalidArgument, match=_SENTENCE) as caught:
        names.check(name)
    assert str(caught.value).isprintable()


def test_a_name_fits_into_a_file_name() -> None:
    with pytest.raises(InvalidArgument, match="at most 200 characters"):
        names.check("a" * (names.MAX_NAME + 1))


@given(st.text())
def test_no_name_leads_out_of_its_directory(text: str) -> None:
    try:
        name = names.check(text)
    except InvalidArgument:
        return
    assert "/" not in name
    assert name.isascii()
    assert name not in (".", "..")
