"""A real registry (Debian's docker-registry) on 127.0.0.1, and the certificates for one with TLS."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

#: ``user`` with the password ``secret``, in bcrypt, as `htpasswd -Bbn user secret` writes it.
HTPASSWD = "user:$2b$05$axxUoPBzuGUsrdiWYNTbk.cyNMKVW6w/T2JzxTPdU/6ZNIxH8.BOa\n"
USER, PASSWORD = "user", "secret"
_PATIENCE = 20


class Registry:
    """A registry with a storage of its own; ``host`` is its ``127.0.0.1:port``."""

    def __init__(
        self, directory: Path, *, http: dict[str, Any] | None = None, auth: dict[str, Any] | None = None
    ) -> None:
        if shutil.which("docker-registry") is None or shutil.which("skopeo") is None:
            pytest.skip("needs docker-registry and skopeo")
        self.host = f"127.0.0.1:{_free_port()}"
        self.storage = directory / "storage"
        self.secure = bool(http)
        configuration = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": "of the tests", **(http or {})},
        }
        if auth is not None:
            configuration["auth"] = auth
        directory.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (directory / "config.yml").write_text(json.dumps(configuration))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "REGISTRY_"))}
        with open(directory / "log", "wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log, env=environment
            )
        name, _, port = self.host.partition(":")
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                socket.create_connection((name, int(port)), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.close()
                    raise AssertionError((directory / "log").read_text()) from None
                time.sleep(0.02)

    def put(self, layout: Path, name: str, *flags: str) -> None:
        """Put an image of an OCI layout, ``layout`` or ``layout:tag``, there with skopeo."""
        source = f"oci:{layout}"
        _skopeo("copy", "--all", "--dest-tls-verify=false", *flags, source, f"docker://{self.host}/{name}")

    def digest(self, name: str, *flags: str) -> str:
        """Return the digest of an image's manifest, as skopeo sees it."""
        return _skopeo(
            "inspect", "--tls-verify=false", "--format", "{{.Digest}}", *flags, f"docker://{self.host}/{name}"
        )

    def blob(self, digest: str) -> Path:
        """Return the file that holds a blob."""
        return self.storage / "docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(_PATIENCE)


class Authority:
    """A certificate authority of the tests, made by openssl, with a server's and a client's certificate."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.certificate = directory / "ca.crt"
        _openssl(
            directory,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hyrun-tests "
            "-addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt",
        )
        self.server = self._issue("server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.client = self._issue("client", "extendedKeyUsage=clientAuth")

    def _issue(self, name: str, extension: str) -> tuple[Path, Path]:
        (self.directory / f"{name}.ext").write_text(f"{extension}\nauthorityKeyIdentifier=keyid\n")
        key = f"-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key"
        _openssl(self.directory, f"req {key} -subj /CN={name} -out {name}.csr")
        signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2"
        _openssl(self.directory, f"x509 -req -in {name}.csr {signed} -extfile {name}.ext -out {name}.crt")
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"


class Signer:
    """Signs what a token server gives out (RFC 7519), with a key that the registry trusts."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        _openssl(
            directory, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tokens -keyout token.key -out token.crt"
        )
        self.certificate = directory / "token.crt"

    def token(self, service: str, access: list[dict[str, Any]]) -> str:
        """Return a token for some access, good for a minute."""
        lines = self.certificate.read_text().splitlines()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines[1:-1])]}
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": "",
            "aud": service,
            "exp": now + 60,
            "nbf": now - 60,
            "iat": now,
            "access": access,
        }
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.directory / "token.key")]
        signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True).stdout
        return f"{signed}.{_base64(signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _openssl(directory: Path, arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments.split()], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
