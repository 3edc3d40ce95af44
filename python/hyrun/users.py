"""``--user`` and the image's USER: who the process is, by the image's own /etc/passwd and /etc/group.

The rules are docker's (GetExecUser in https://github.com/moby/sys/blob/main/user/user.go), read strictly,
because all three texts are hostile: digits are ASCII digits and always an id (an entry called ``1``
cannot make ``-u 1`` root), and a damaged line is no entry instead of one with id 0 (CVE-2026-30892,
CVE-2024-40635).
"""

from __future__ import annotations

import os
import stat

from .errors import InvalidArgument, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Largest uid and gid, as in docker: what a signed 32 bit number holds.
MAX_ID = 2**31 - 1
#: Largest passwd or group file that is read, in bytes.
MAX_FILE = 1 << 20
#: What setgroups(2) takes (NGROUPS_MAX).
MAX_GROUPS = 65536


class Identity:
    """Who a process is. ``groups`` is the list for setgroups(2), ``name`` is "" when passwd has no entry.

    ``groups`` begins with ``gid``: left out, files that deny a group would let its members in
    (CVE-2022-36109).
    """

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str, name: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
        self.name = name

    def __repr__(self) -> str:
        return f"Identity({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def resolve(text: str, *, passwd: bytes | None, group: bytes | None, extra_groups: Sequence[str] = ()) -> Identity:
    """Return who ``text`` means: ``""`` (root), ``name``, ``uid``, ``name:group``, ``uid:gid`` and mixtures.

    ``passwd`` and ``group`` are the files' content, None when the image has none. A uid or gid need not
    be listed. The gid is passwd's (0 when it is not listed) unless a group is given; the groups that list
    the user as a member count only when none is given. ``extra_groups`` (--group-add) come on top.
    InvalidArgument when somebody is not found or out of range, StorageError when a file is too large.
    """
    who, colon, where = text.partition(":")
    if ":" in where or (colon and not who):
        raise InvalidArgument(f"user {_shown(text)} cannot be read: write name, uid, name:group or uid:gid")
    members = list(_lines(group, "group"))
    uid, gid, home, name = _find_user(who, passwd)
    if where:
        gid = _find_group(where, members)
    groups = {gid: None}
    if name and not where:
        wanted = _bytes(name)
        for fields, number in members:
            if wanted in fields[3].split(b","):
                groups[number] = None
    for extra in extra_groups:
        groups[_find_group(extra, members)] = None
    if len(groups) > MAX_GROUPS:
        raise StorageError(f"user {_shown(text)} is in more than {MAX_GROUPS} groups: the kernel takes no more")
    return Identity(uid, gid, list(groups), home, name)


def read_accounts(root_fd: int) -> tuple[bytes | None, bytes | None]:
    """Return what /etc/passwd and /etc/group below an open root directory hold, None for what is not there.

    Symlinks stay below the root. StorageError for anything but a regular file of up to 1 MiB.
    """
    return _read(root_fd, "/etc/passwd"), _read(root_fd, "/etc/group")


def _find_user(who: str, passwd: bytes | None) -> tuple[int, int, str, str]:
    uid = 0 if not who else _number(who, "user")
    wanted = _bytes(who)
    for fields, number in _lines(passwd, "passwd"):
        if (number == uid) if uid is not None else (fields[0] == wanted):
            gid = _id(fields[3])
            if gid is None:
                continue
            home = os.fsdecode(fields[5]) if len(fields) > 5 and fields[5] else "/"
            return number, gid, home, os.fsdecode(fields[0])
    if uid is None:
        raise InvalidArgument(
            f"unable to find user {_shown(who)}: no matching entries in passwd file: write a uid instead"
        )
    return uid, 0, "/", ""


def _find_group(where: str, members: list[tuple[list[bytes], int]]) -> int:
    gid = _number(where, "group")
    if gid is not None:
        return gid
    wanted = _bytes(where)
    for fields, number in members:
        if fields[0] == wanted:
            return number
    raise InvalidArgument(
        f"unable to find group {_shown(where)}: no matching entries in group file: write a gid instead"
    )


def _number(text: str, what: str) -> int | None:
    """Return the id that ASCII digits mean, None for a name; InvalidArgument when it is out of range."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = _id(text.encode())
    if number is None:
        raise InvalidArgument(f"{what} {_shown(text)}: uids and gids must be in range 0-{MAX_ID}")
    return number


def _id(digits: bytes) -> int | None:
    # bytes.isdigit knows ASCII only. The length comes first: int() refuses thousands of digits by itself.
    if not digits.isdigit():
        return None
    digits = digits.lstrip(b"0") or b"0"
    number = int(digits) if len(digits) <= 10 else MAX_ID + 1
    return number if number <= MAX_ID else None


def _lines(content: bytes | None, what: str) -> Iterator[tuple[list[bytes], int]]:
    """Yield the fields of each sound line, and its id (the third field); skip what is damaged."""
    if content is None:
        return
    if len(content) > MAX_FILE:
        raise StorageError(f"the image's /etc/{what} is larger than {MAX_FILE} bytes: it is not read")
    for line in content.split(b"\n"):
        fields = line.removesuffix(b"\r").split(b":")
        if len(fields) < 4 or not fields[0] or fields[0].startswith(b"#") or b"\0" in line:
            continue
        number = _id(fields[2])
        if number is not None:
            yield fields, number


def _read(root_fd: int, path: str) -> bytes | None:
    from . import _core

    try:
        # O_NONBLOCK: a FIFO must not be waited for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = _core.open_in_root(root_fd, path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"the image's {path} cannot be opened: {error.strerror}: mend it in the image") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"the image's {path} is not a regular file: mend it in the image")
        content = b""
        # One byte more than allowed tells a file that is too large, whatever fstat says of its size.
        while len(content) <= MAX_FILE:
            piece = os.read(descriptor, MAX_FILE + 1 - len(content))
            if not piece:
                return content
            content += piece
    finally:
        os.close(descriptor)
    raise StorageError(f"the image's {path} is larger than {MAX_FILE} bytes: it is not read")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # What no file can hold is nobody's name: lines with a NUL are skipped.
        return b"\0"


def _shown(text: str) -> str:
    """Return a hostile text fit for an error: one line, no control characters, not long."""
    shown = text if text.isprintable() and text else ascii(text)
    return shown if len(shown) <= 100 else shown[:100] + "…"
