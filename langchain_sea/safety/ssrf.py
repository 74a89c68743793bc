"""Addresses that lead into a private network, in any notation. Resolves no names."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

__all__ = ["find_bad_address"]

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,15}):(?://)?([^\s\"'<>)\]}]+)", re.IGNORECASE)
_BARE_HOST = re.compile(r"^\[?[\w.:-]+\]?(?::\d+)?(?:/\S*)?$")
_BAD_SCHEMES = frozenset(
    [
        "file",
        "gopher",
        "dict",
        "ldap",
        "ldaps",
        "jar",
        "netdoc",
        "tftp",
        "php",
        "expect",
        "phar",
        "sftp",
        "smb",
        "view-source",
    ]
)
_WEB_SCHEMES = frozenset(["http", "https", "ftp", "ws", "wss"])
_PRIVATE_NAME = re.compile(
    r"(?:^|\.)(?:localhost|local|internal|intranet|corp|lan|home|localdomain|metadata|instance-data|kubernetes\.default.*)$"
    r"|(?:^|[.-])(?:127|10|169|192)[.-]\d+[.-]\d+[.-]\d+\.(?:nip|xip|sslip)\.io$|\.(?:localtest\.me|lvh\.me)$",
    re.IGNORECASE,
)
_NUM_BYTES = 4  # of an IPv4 address
_MAX_BYTE = 255

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def find_bad_address(text: str, hosts: tuple[str, ...] | None, *, bare: bool) -> str | None:
    """Return why an address in the text must not be opened; None where all may be.

    Args:
        text: any text.
        hosts: that may be named; None allows all public ones.
        bare: whether the whole text may be a host without a scheme.
    """
    for match in _URL.finditer(text):
        scheme, rest = match[1].lower(), match[2]
        if scheme in _BAD_SCHEMES:
            return f"{match[0][:80]!r} is not an address of the web"
        if scheme in _WEB_SCHEMES and (reason := _check_host(f"//{rest.lstrip('/')}", hosts)):
            return reason
    host = text.strip()
    if bare and _BARE_HOST.match(host) and ("." in text or ":" in text or host.isalnum()):
        return _check_host(f"//{host}", hosts, is_url=False)
    return None


def _check_host(url: str, hosts: tuple[str, ...] | None, *, is_url: bool = True) -> str | None:
    """Return why the host of a URL must not be opened; `is_url` is False where the text may be something else."""
    try:
        host = unquote(urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return f"the host of {url[2:80]!r} cannot be read" if is_url else None
    host = host.replace("。", ".")
    address = _parse_address(host, is_url=is_url)
    if address is not None and _is_private(address):
        return f"{host!r} lies inside the network ({address})"
    if _PRIVATE_NAME.search(host):
        return f"{host!r} lies inside the network"
    if hosts is not None and is_url and not any(host == h or host.endswith(f".{h}") for h in hosts):
        return f"{host!r} is none of the allowed hosts: {', '.join(hosts)}"
    return None


def _parse_address(host: str, *, is_url: bool) -> _Address | None:
    """Parse an IP address; also of fewer than four numbers, octal or hexadecimal, as resolvers do."""
    try:
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        pass
    parts = host.split(".")
    if len(parts) > _NUM_BYTES or (len(parts) == 1 and not is_url):  # a number by itself may be an id
        return None
    try:
        *heads, last = [_parse_number(part) for part in parts]
    except ValueError:
        return None
    if any(head > _MAX_BYTE for head in heads) or last >= 256 ** (_NUM_BYTES + 1 - len(parts)):
        return None
    return ipaddress.IPv4Address(sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + last)


def _parse_number(part: str) -> int:
    if re.fullmatch(r"0[0-7]+", part):
        return int(part, 8)
    return int(part, 16) if part.lower().startswith("0x") else int(part)


def _is_private(address: _Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return _is_private(mapped)
    return not address.is_global or address.is_multicast
