"""`hyrun port`: which ports of a container are published where, from docker's ``NetworkSettings.Ports``. Pure."""

from __future__ import annotations

from .errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def lines(ports: Mapping[str, Sequence[Mapping[str, str]] | None], name: str, port: str | None = None) -> list[str]:
    """Return what docker prints: ``80/tcp -> 0.0.0.0:8080`` for each, or only the addresses of one port.

    ``port`` is ``80`` or ``53/udp``; NotFound when it is not published.
    """
    if port is None:
        return [f"{private} -> {_address(binding)}" for private in sorted(ports) for binding in ports[private] or ()]
    number, _, protocol = port.partition("/") if "/" in port else (port, "", "tcp")
    if not number.isdecimal() or not 0 < int(number) < 65536 or protocol not in ("tcp", "udp", "sctp"):
        raise InvalidArgument(f"port {port}: write a number from 1 to 65535, with /tcp, /udp or /sctp if need be")
    private = f"{int(number)}/{protocol}"
    found = [_address(binding) for binding in ports.get(private) or ()]
    if not found:
        raise NotFound(f"no public port {private} published for {name}: ports are not published by hyrun yet")
    return found


def _address(binding: Mapping[str, str]) -> str:
    address, port = binding.get("HostIp", ""), binding.get("HostPort", "")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
