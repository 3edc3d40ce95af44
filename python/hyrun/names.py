"""Names of containers: made up when none was given, checked when one was.

The rule for a name is docker's; the words are hyrun's own.
"""

from __future__ import annotations

import os

from .errors import InvalidArgument

#: A name is a file name in the store as well, with room for a suffix.
MAX_NAME = 200

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_ALLOWED = _ALNUM | frozenset("_.-")

_ADJECTIVES = """
agile airy amber ample aqua arctic atomic autumn azure balmy binary bold breezy bright brisk bubbly calm
candid cheery chilly clear clever cloudy coastal compact coral cosmic cosy crisp crystal curious dapper
daring dewy digital distant dusky eager earnest earthy easy elastic electric ember emerald epic even fair
fern fine fleet floral fluent fluffy foamy fond fresh frosty gentle giant gilded glad gleaming golden
grand green hazel hearty hidden honest humble icy indigo ivory jade jolly jovial keen kind lavender leafy
light limber lively local lofty loyal lucid lucky lunar magnetic mellow merry mighty mild mint misty
modest mossy native neat nimble noble northern olive opal open orbital patient pebbly placid playful polar
polished proud quick quiet rapid ready robust rosy round rustic sandy sharp shiny silent silver simple
sleek smooth snowy snug soft solar solid sonic southern spare spruce stable starry steady stellar still
sturdy sunny swift tame tidal tidy tranquil trusty upbeat valiant velvet verdant vivid warm wavy western
whole windy wise woven zesty
"""
_NOUNS = """
acorn alder anchor aspen aurora badger bamboo basin bay beacon beaver beech birch bison bloom bluff
boulder branch breeze bridge brook buffer byte cable cache canyon cape cedar channel cipher cirrus cliff
clock cloud clover comet compass compiler coral core cove crane creek cricket cursor cypress daemon daisy
dawn delta diode dolphin dove drift dune eagle echo egret elm falcon fern field finch fjord flint forest
fox galaxy garden geyser glacier glade grove gull harbor hare hawk heath hedge heron hill island ivy jay
kernel kestrel kite lagoon lake lark laurel leaf ledger lemur lichen lilac linden loop lotus lynx maple
marsh meadow meteor mill moon moss moth nebula node oak ocean orbit orchid osprey otter owl packet palm
panda parser pebble pier pine pixel planet plateau pond poplar prairie prism puffin quark quartz quasar
rain raven reef register ridge river robin rocket router rowan sail salmon seal sequoia shell shore signal
socket spark sparrow spring spruce squall stack star stone storm stream summit swallow swan tern thicket
thread thrush tide timber token trail tulip tundra valley vector violet wave willow wind wombat wren
yarrow zephyr
"""


def generate() -> str:
    """Return a random name such as ``mossy_beacon``. It may be taken: names are claimed by creating them."""
    return f"{_pick(_ADJECTIVES)}_{_pick(_NOUNS)}"


def check(name: str) -> str:
    """Return the name that a container gets; InvalidArgument with docker's sentence if it may not be called so.

    A slash before it is left out, as docker does: names are shown with one.
    """
    name = name.removeprefix("/")
    if len(name) < 2 or name[0] not in _ALNUM or not _ALLOWED.issuperset(name):
        shown = (name if name.isprintable() else ascii(name))[:MAX_NAME]
        raise InvalidArgument(
            f"Invalid container name ({shown}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, two or more"
        )
    if len(name) > MAX_NAME:
        raise InvalidArgument(f"Invalid container name ({name[:40]}…), at most {MAX_NAME} characters are allowed")
    return name


_split: dict[str, list[str]] = {}


def _pick(words: str) -> str:
    choices = _split.get(words)
    if choices is None:
        choices = _split[words] = words.split()
    return choices[int.from_bytes(os.urandom(4), "little") % len(choices)]
