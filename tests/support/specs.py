"""Texts for the grammar of mounts."""

from hypothesis import strategies as st

from hyrun.volumespec import Mount, parse_volume

CWD = "/work/dir"


def volume(text: str) -> Mount:
    """Parse ``-v`` in that directory."""
    return parse_volume(text, cwd=CWD)


TOKENS = st.sampled_from(
    [
        ":",
        "/",
        ".",
        "..",
        "~",
        "a",
        "ab",
        "ro",
        "rw",
        "z",
        "nocopy",
        "rslave",
        ",",
        "/t",
        "proc",
        "\0",
        " ",
        "=",
        '"',
    ]
)
#: Pieces of what people write, and anything else.
TEXTS = st.text() | st.lists(TOKENS, max_size=12).map("".join) | st.text(st.characters(codec=None), max_size=30)
