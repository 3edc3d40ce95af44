"""`pull`, `push`, `login`, `logout`: images from and to registries."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hyrun.errors import InvalidArgument

from . import completion, images
from .arguments import Progress
from .context import store

_PANEL = "Registries"

_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the name.")]
_Server = Annotated[str, typer.Argument(metavar="[SERVER]", help="Host and port; docker.io without it.")]


def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME[:TAG|@DIGEST]", help="What to pull.", autocompletion=completion.images)
    ],
    all_tags: Annotated[bool, typer.Option("--all-tags", "-a", help="All tags of the repository.")] = False,
    platform: Annotated[
        str | None,
        typer.Option(
            metavar="OS/ARCH[/VARIANT]",
            envvar="DOCKER_DEFAULT_PLATFORM",
            help="Of an image for several platforms, this one; otherwise what fits this machine best.",
        ),
    ] = None,
    quiet: _Quiet = False,
    progress_: Progress = "auto",
) -> None:
    """Pull an image from a registry.

    Example: hyrun pull --platform linux/arm64 debian:12
    """
    from hyrun.platforms import parse_platform
    from hyrun.progress import progress
    from hyrun.references import parse
    from hyrun.registry import pulling

    reference = parse(name)
    wanted = parse_platform(platform) if platform else None
    if all_tags and (reference.digest is not None or _has_tag(name)):
        raise InvalidArgument(f"--all-tags and {name}: tag and digest cannot be chosen then: leave one of the two out")
    with progress(progress_, quiet=quiet) as shown:
        if all_tags:
            done = pulling.pull_all(store(), reference, platform=wanted, progress=shown)
        else:
            if reference.digest is None and not _has_tag(name):
                shown.say("Using default tag: latest")
            done = [pulling.pull(store(), reference, platform=wanted, progress=shown)]
    for each in done:
        if not quiet:
            for line in pulling.summary(each):
                typer.echo(line)
        typer.echo(each.reference.full())


def push(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:TAG]", help="What to push; the name says where to.", autocompletion=completion.images
        ),
    ],
    all_tags: Annotated[
        bool, typer.Option("--all-tags", "-a", help="All tags of the repository that are here.")
    ] = False,
    compression_format: Annotated[
        str | None,
        typer.Option(
            metavar="gzip|zstd",
            help="Layers in this form, packed anew where they are not, in an OCI manifest. Without it, layers that "
            "were pulled go as they came, others with gzip.",
        ),
    ] = None,
    quiet: _Quiet = False,
    progress_: Progress = "auto",
) -> None:
    """Push an image to a registry.

    Example: hyrun tag busybox localhost:5000/busybox && hyrun push localhost:5000/busybox
    """
    from hyrun.progress import progress
    from hyrun.references import parse
    from hyrun.registry import pushing

    reference = parse(name)
    if reference.digest is not None:
        raise InvalidArgument(f"push {name}: an image is pushed by a tag, its digest follows: write NAME:TAG")
    if all_tags and _has_tag(name):
        raise InvalidArgument(f"--all-tags and {name}: a tag cannot be chosen then: leave one of the two out")
    with progress(progress_, quiet=quiet) as shown:
        if all_tags:
            done = pushing.push_all(store(), reference, compression=compression_format, progress=shown)
        else:
            done = [pushing.push(store(), reference, compression=compression_format, progress=shown)]
    for each in done:
        typer.echo(each.reference.full())


def login(
    server: _Server = "",
    username: Annotated[str | None, typer.Option("--username", "-u", help="Asked for without it.")] = None,
    password: Annotated[
        str | None, typer.Option("--password", "-p", help="Others can see it: use --password-stdin.")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
) -> None:
    """Log in to a registry; the credential is kept where docker keeps it.

    Example: echo "$TOKEN" | hyrun login -u me --password-stdin registry.example.com
    """
    from hyrun.registry import logins

    from .output import message

    name = logins.server_name(server)
    if password is not None and password_stdin:
        raise InvalidArgument("--password and --password-stdin: only one of the two")
    if password_stdin:
        if not username:
            raise InvalidArgument("--password-stdin: it needs --username as well")
        password = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    elif password is not None:
        message("WARNING! Using --password on the command line is insecure: use --password-stdin.")
    if not username:
        username = _ask("Username: ")
    if password is None:
        password = _ask("Password: ", secret=True)
    if not username or not password:
        raise InvalidArgument("login: user name and password must not be empty")
    try:
        f"{username}{password}".encode()
    except UnicodeEncodeError:
        raise InvalidArgument("login: user name and password must be UTF-8: convert them with iconv") from None
    path = logins.login(name, username, password)
    if path is not None:
        message(
            f"WARNING! Your credentials are stored unencrypted in '{path}': a credential helper (credsStore) would "
            "keep them better."
        )
    typer.echo("Login Succeeded")


def logout(server: _Server = "") -> None:
    """Forget the credential of a registry.

    Example: hyrun logout registry.example.com
    """
    from hyrun.registry import logins

    name = logins.server_name(server)
    if logins.logout(name):
        typer.echo(f"Removing login credentials for {name}")
    else:
        typer.echo(f"Not logged in to {name}")


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2].partition("@")[0]


def _ask(prompt: str, *, secret: bool = False) -> str:
    """Ask the person at the terminal."""
    if not sys.stdin.isatty():
        raise InvalidArgument("login: stdin is no terminal: use --username and --password-stdin")
    if secret:
        import getpass

        return getpass.getpass(prompt)
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def register(app: typer.Typer) -> None:
    """Add the commands of registries to the application, and to the group ``image``."""
    for name, function in (("pull", pull), ("push", push), ("login", login), ("logout", logout)):
        app.command(name, rich_help_panel=_PANEL)(function)
    images.group.command("pull")(pull)
    images.group.command("push")(push)
