"""What somebody asks for with --platform, and what fits."""

import pytest

from hyrun.errors import InvalidArgument
from hyrun.platforms import Platform, machine, parse_platform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", ("linux", "amd64", "")),
        ("LINUX/x86_64", ("linux", "amd64", "")),
        ("linux/amd64/v1", ("linux", "amd64", "")),
        ("linux/arm64/v8", ("linux", "arm64", "")),
        ("aarch64", ("linux", "arm64", "")),
        ("armhf", ("linux", "arm", "v7")),
        ("linux/arm/v6", ("linux", "arm", "v6")),
        ("linux", ("linux", machine(), "")),
    ],
)
def test_spellings(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_platform(text) == Platform(*expected)


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/a b", "windows/amd64", "linux/arm/../v7"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"write|only images of linux"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("wanted", "images", "best"),
    [
        ("linux/arm64", [("linux", "arm64", "v8"), ("linux", "amd64", "")], 0),
        ("linux/arm", [("linux", "arm", "v6"), ("linux", "arm", "v7"), ("linux", "arm", "v8")], 1),
        ("linux/arm/v6", [("linux", "arm", "v7"), ("linux", "arm", "v6")], 1),
        ("linux/arm/v7", [("linux", "arm", "v6")], 0),
        ("linux/arm/v6", [("linux", "arm", "v7")], None),
        ("linux/amd64", [("linux", "amd64", "v3"), ("linux", "amd64", "")], 1),
        ("linux/amd64/v3", [("linux", "amd64", ""), ("linux", "amd64", "v3")], 1),
        ("linux/amd64/v3", [("linux", "amd64", ""), ("linux", "amd64", "v2")], 1),
        ("linux/amd64/v2", [("linux", "amd64", "")], 0),
        ("linux/amd64/v2", [("linux", "amd64", "v1"), ("linux", "amd64", "v3")], 0),
        ("linux/amd64/v2", [("linux", "amd64", "v3")], None),
        ("linux/arm64/v9", [("linux", "arm64", "v8")], 0),
        ("linux/amd64", [("windows", "amd64", "")], None),
        ("linux/386", [("linux", "amd64", "")], None),
    ],
)
def test_the_best_of_several(wanted: str, images: list[tuple[str, str, str]], best: int | None) -> None:
    platform = parse_platform(wanted)
    ranked = [(rank, index) for index, image in enumerate(images) if (rank := platform.rank(*image)) is not None]
    assert (min(ranked)[1] if ranked else None) == best
