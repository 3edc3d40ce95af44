"""What every command shares: the store that --root chose, and whether tracebacks are wanted."""

from ..store import Store


class Context:
    """The options given before the command."""

    root: str | None = None
    debug: bool = False


current = Context()


def store() -> Store:
    """Return the store this command works on, made if it is not there."""
    return Store(current.root).prepare()
