"""What every command shares: the store that --root chose, and how an error leaves the program."""

from hyrun.store import Store


class Context:
    """The options given before the command, and what the command says of itself."""

    root: str | None = None
    debug: bool = False
    #: `run` exits with the code of the cause (125, 126, 127); the others with 1, as docker's.
    exit_with_cause: bool = False


current = Context()


def store() -> Store:
    """Return the store this command works on, made if it is not there."""
    return Store(current.root).prepare()
