"""Image references: the known cases of the distribution grammar."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun.errors import InvalidArgument
from hyrun.references import Reference, is_id_prefix, parse

HEX = "0123456789abcdef" * 4
SHA = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX * 2}"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("user/x:1", "docker.io/user/x:1", "user/x:1"),
        ("docker.io/user/x", "docker.io/user/x:latest", "user/x:latest"),
        ("a/b/c", "docker.io/a/b/c:latest", "a/b/c:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        (f"localhost:5000/a@{SHA}", f"localhost:5000/a@{SHA}", f"localhost:5000/a@{SHA}"),
        (f"busybox:1@{SHA}", f"docker.io/library/busybox:1@{SHA}", f"busybox:1@{SHA}"),
        (f"busybox@{SHA512}", f"docker.io/library/busybox@{SHA512}", f"busybox@{SHA512}"),
        ("foo:5000", "docker.io/library/foo:5000", "foo:5000"),
        ("foo:5000/bar", "foo:5000/bar:latest", "foo:5000/bar:latest"),
        ("test.com:8080/repo:Tag_1.x-y", "test.com:8080/repo:Tag_1.x-y", "test.com:8080/repo:Tag_1.x-y"),
        ("Host/repo", "Host/repo:latest", "Host/repo:latest"),
        ("sub-dom1.foo.com/bar/baz", "sub-dom1.foo.com/bar/baz:latest", "sub-dom1.foo.com/bar/baz:latest"),
        ("xn--n3h.com/myimage", "xn--n3h.com/myimage:latest", "xn--n3h.com/myimage:latest"),
        ("192.168.1.1:80/a", "192.168.1.1:80/a:latest", "192.168.1.1:80/a:latest"),
        ("[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a:latest", "[2001:db8::1]:5000/a:latest"),
        ("[fe80::1]/a:b", "[fe80::1]/a:b", "[fe80::1]/a:b"),
        ("a.b/c.d", "a.b/c.d:latest", "a.b/c.d:latest"),
        ("a/foo_bar__b--c---d.e", "docker.io/a/foo_bar__b--c---d.e:latest", "a/foo_bar__b--c---d.e:latest"),
        ("a.b", "docker.io/library/a.b:latest", "a.b:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        (f"library/{HEX}", f"docker.io/library/{HEX}:latest", f"library/{HEX}:latest"),
        (HEX[:63], f"docker.io/library/{HEX[:63]}:latest", f"{HEX[:63]}:latest"),
        ("x:" + "t" * 128, "docker.io/library/x:" + "t" * 128, "x:" + "t" * 128),
        ("a/" + "p" * 253, "docker.io/a/" + "p" * 253 + ":latest", "a/" + "p" * 253 + ":latest"),
    ],
)
def test_reads_and_completes(text: str, full: str, familiar: str) -> None:
    reference = parse(text)
    assert reference.full() == full
    assert reference.familiar() == familiar


def test_gives_the_parts() -> None:
    reference = parse(f"localhost:5000/a/b:1@{SHA}")
    assert (reference.domain, reference.path, reference.tag, reference.digest) == (
        "localhost:5000",
        "a/b",
        "1",
        SHA,
    )
    assert parse(f"a@{SHA}").tag is None
    assert parse("a").digest is None
    assert parse("a") == parse("docker.io/library/a:latest")
    assert len({parse("a"), parse("a:latest"), parse("a:1")}) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("Busybox", r"repository name \(library/Busybox\) must be lowercase"),
        ("docker.io/User/x", "must be lowercase"),
        ("ä", "invalid reference format"),
        ("Ä", "must be lowercase"),
        (HEX, "cannot specify 64-byte hexadecimal strings"),
        ("a:", "bad tag"),
        ("a:.x", "bad tag"),
        ("a:-x", "bad tag"),
        ("a:x y", "bad tag"),
        ("a:é", "bad tag"),
        ("a:b:c", "bad tag"),
        ("a:" + "t" * 129, "bad tag"),
        ("a@", "digest"),
        ("a@sha256:", "bad digest"),
        (f"a@sha256:{HEX[1:]}", "bad digest"),
        (f"a@sha256:{HEX}0", "bad digest"),
        (f"a@sha256:{HEX.upper()}", "bad digest"),
        (f"a@sha512:{HEX}", "bad digest"),
        (f"a@md5:{HEX[:32]}", "unsupported digest"),
        (f"a@{SHA}@{SHA}", "bad digest"),
        ("a/" + "p" * 254, "must not be over 255 characters"),
        ("a//b", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("localhost/", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a-", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a_.b", "invalid reference format"),
        ("a._b", "invalid reference format"),
        ("a-_b", "invalid reference format"),
        ("a_-b", "invalid reference format"),
        (" a", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("a\0", "invalid reference format"),
        ("../etc/passwd", "invalid reference format"),
        ("-x.com/a", "no host"),
        ("x-.com/a", "no host"),
        ("x..com/a", "no host"),
        ("a_b.com/a", "no host"),
        ("x.com:/a", "no host"),
        ("x.com:8x/a", "no host"),
        ("x.com:80:80/a", "no host"),
        ("https://x.com/a", "invalid reference format"),
        ("[::1/a", "no host"),
        ("[aaaa]:5000/a", "no host"),
        ("[1:2:3]/a", "no host"),
        ("[::1\0]/a", "no host"),
        ("[::g]/a", "no host"),
        ("[::1]x/a", "no host"),
        ("٣.com/a", "no host"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        parse(text)
    assert str(caught.value).isprintable()


_COMPONENT = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
_HOST = st.from_regex(r"([a-zA-Z0-9]([a-zA-Z0-9-]{0,3}[a-zA-Z0-9])?\.){1,2}[a-z]{2}(:[0-9]{1,5})?", fullmatch=True)
_DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda digits: f"sha256:{digits}")


@given(
    st.sampled_from(["", "docker.io/", "localhost/", "localhost:5000/", "[::1]:80/"]) | _HOST.map("{}/".format),
    st.lists(_COMPONENT, min_size=1, max_size=4).map("/".join),
    st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.none() | _DIGEST,
)
def test_what_it_writes_it_reads_back(domain: str, path: str, tag: str | None, digest: str | None) -> None:
    text = domain + path + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    try:
        reference = parse(text)
    except InvalidArgument:
        # The first component looked like a host and is none: only without a domain.
        assert not domain
        return
    assert parse(reference.full()) == reference
    assert parse(reference.familiar()) == reference
    assert reference.digest == digest
    assert reference.tag == (tag if tag or digest else "latest")


@given(st.text(alphabet=string.printable + "é\0", max_size=60))
def test_any_text_gives_a_clean_reference_or_one_kind_of_error(text: str) -> None:
    try:
        reference = parse(text)
    except InvalidArgument:
        return
    assert isinstance(reference, Reference)
    assert reference.full().isascii()
    assert not {"..", "", "."} & set(reference.path.split("/"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a", True),
        ("0123456789ab", True),
        (HEX, True),
        (SHA, True),
        ("sha256:ab", True),
        ("", False),
        ("sha256:", False),
        (HEX + "0", False),
        ("AB", False),
        ("g", False),
        ("٣", False),
        ("a:b", False),
    ],
)
def test_beginnings_of_ids(text: str, answer: bool) -> None:
    assert is_id_prefix(text) is answer
