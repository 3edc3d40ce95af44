"""--filter name=value."""

import pytest

from hyrun import filters
from hyrun.errors import InvalidArgument

ALLOWED = {"label", "label!", "name", "dangling"}


def test_values_of_one_name_are_kept_in_order() -> None:
    wanted = filters.parse(["label=a=1", "name=x", "label=b", " NAME = y ", "label!=c", "  "], ALLOWED)
    assert wanted == {"label": ["a=1", "b"], "name": ["x", "y"], "label!": ["c"]}


@pytest.mark.parametrize("text", ["foo=1", "foo", "=x", "namex=1"])
def test_an_unknown_filter_is_refused_by_name_with_the_known_ones(text: str) -> None:
    name = text.partition("=")[0]
    with pytest.raises(InvalidArgument, match=rf"^invalid filter '{name}': write .*dangling=…, label=…"):
        filters.parse([text], ALLOWED)


def test_a_known_filter_needs_a_value() -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid filter 'name': write name=value"):
        filters.parse(["name"], ALLOWED)


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        ([], True),
        (["a"], True),
        (["a=1"], True),
        (["a=2"], False),
        (["a="], False),
        (["c="], True),
        (["c"], True),
        (["z"], False),
        (["a=1", "b=x=y"], True),
        (["a=1", "z"], False),
    ],
)
def test_all_labels_must_match(wanted: list[str], matches: bool) -> None:
    assert filters.match_labels({"a": "1", "b": "x=y", "c": ""}, wanted) is matches


def test_no_labels_match_only_no_filter() -> None:
    assert filters.match_labels(None, [])
    assert not filters.match_labels(None, ["a"])


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_dangling_reads_dockers_spellings(value: str, meant: bool) -> None:
    assert filters.boolean({"dangling": [value]}, "dangling", default=not meant) is meant


def test_dangling_has_a_default() -> None:
    assert filters.boolean({}, "dangling", default=True)
    assert not filters.boolean({}, "dangling", default=False)


@pytest.mark.parametrize("values", [["yes"], [""], ["True"], ["true", "false"]])
def test_dangling_refuses_other_values_and_contradictions(values: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid filter 'dangling"):
        filters.boolean({"dangling": values}, "dangling", default=False)
