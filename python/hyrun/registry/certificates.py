"""TLS of one host: the system's authorities, and those in docker's and podman's ``certs.d`` directories."""

import glob
import os
import ssl

from hyrun.errors import InvalidArgument

from .hosts import user_directory


def context(host: str, *, insecure: bool) -> ssl.SSLContext:
    """Return the TLS settings for ``host[:port]``.

    ``<directory>/<host:port>/*.crt`` are authorities; ``NAME.cert`` with ``NAME.key`` is our own certificate.
    Source: docs.docker.com, "Verify repository client with certificates"; containers-certs.d(5). Raises
    InvalidArgument for a file that cannot be used.
    """
    result = ssl.create_default_context()
    if insecure:
        result.check_hostname = False
        result.verify_mode = ssl.CERT_NONE
    for path in _files(host, ".crt"):
        try:
            result.load_verify_locations(path)
        except OSError as error:
            raise InvalidArgument(f"{path}: no certificate of an authority: {error}") from None
    for path in _files(host, ".cert"):
        key = path.removesuffix(".cert") + ".key"
        if not os.path.exists(key):
            raise InvalidArgument(f"{path}: its key {key} is missing: an authority's certificate ends in .crt")
        try:
            # An empty password: OpenSSL would ask for one on the terminal.
            result.load_cert_chain(path, key, password="")
        except OSError as error:
            raise InvalidArgument(f"{path}: no certificate with a key that fits, without password: {error}") from None
    return result


def _files(host: str, suffix: str) -> list[str]:
    places = (os.path.join(user_directory(), "certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d")
    return [
        path
        for place in places
        for path in sorted(glob.glob(os.path.join(glob.escape(place), glob.escape(host), f"*{suffix}")))
    ]
