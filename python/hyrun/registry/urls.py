"""URLs, most of which are words from outside: what is none of them is an error of hyrun, not of Python."""

from urllib.parse import SplitResult, urljoin, urlsplit

from hyrun.errors import RegistryError


def split(url: str, whose: str) -> SplitResult:
    """Return the parts of a URL, with a port that can be one. Raises RegistryError, which begins with ``whose``."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # looked at by this property alone
    except ValueError:
        raise RegistryError(f"{whose}: {url[:200]!r} is no URL") from None
    return parts


def join(base: str, url: str, whose: str) -> str:
    """Return where ``url`` leads from ``base``. Raises RegistryError, which begins with ``whose``."""
    split(url, whose)
    return urljoin(base, url)
