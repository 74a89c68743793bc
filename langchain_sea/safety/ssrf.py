"""Addresses that lead into a network rather than out of it, however they are written. Asks no name server."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote, urlsplit

__all__ = ["bad_address"]

_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,15}):(?://)?([^\s\"'<>)\]}]+)", re.IGNORECASE)
_BARE = re.compile(r"^\[?[\w.:-]+\]?(?::\d+)?(?:/\S*)?$")
_SCHEMES = frozenset(
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
_WEB = frozenset(["http", "https", "ftp", "ws", "wss"])
_INSIDE = re.compile(
    r"(?:^|\.)(?:localhost|local|internal|intranet|corp|lan|home|localdomain|metadata|instance-data|kubernetes\.default.*)$"
    r"|(?:^|[.-])(?:127|10|169|192)[.-]\d+[.-]\d+[.-]\d+\.(?:nip|xip|sslip)\.io$|\.(?:localtest\.me|lvh\.me)$",
    re.IGNORECASE,
)


def bad_address(text: str, hosts: tuple[str, ...] | None, *, bare: bool) -> str | None:
    """Why an address in the text must not be opened; None where there is none such.

    Args:
        text: any.
        hosts: that may be named; None allows all that are public.
        bare: whether the whole text may be a host without a scheme.
    """
    for match in _URL.finditer(text):
        scheme, rest = match[1].lower(), match[2]
        if scheme in _SCHEMES:
            return f"{match[0][:80]!r} is no address of the web"
        if scheme in _WEB and (why := _host(f"//{rest.lstrip('/')}", hosts)):
            return why
    if bare and _BARE.match(text.strip()) and ("." in text or ":" in text or text.strip().isalnum()):
        return _host(f"//{text.strip()}", hosts, certain=False)
    return None


def _host(url: str, hosts: tuple[str, ...] | None, *, certain: bool = True) -> str | None:
    try:
        host = unquote(urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return f"{url[2:80]!r} names no host that can be read" if certain else None
    host = host.replace("。", ".")
    address = _address(host, certain=certain)
    if address is not None and _inner(address):
        return f"{host!r} lies inside of the network ({address})"
    if _INSIDE.search(host):
        return f"{host!r} lies inside of the network"
    if hosts is not None and certain and not any(host == h or host.endswith(f".{h}") for h in hosts):
        return f"{host!r} is none of the hosts that are allowed: {', '.join(hosts)}"
    return None


def _address(host: str, *, certain: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also of one number, and of octal and hexadecimal parts, which resolvers read as well."""
    try:
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        pass
    parts = host.split(".")
    if len(parts) > 4 or (len(parts) == 1 and not certain):  # noqa: PLR2004 - a lone number is an id as well
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *heads, last = numbers
    if any(head > 255 for head in heads) or last >= 256 ** (5 - len(parts)):  # noqa: PLR2004 - of one byte
        return None
    whole = sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + last
    return ipaddress.IPv4Address(whole)


def _number(part: str) -> int:
    if re.fullmatch(r"0[0-7]+", part):
        return int(part, 8)
    return int(part, 16) if part.lower().startswith("0x") else int(part)


def _inner(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return _inner(mapped)
    return not address.is_global or address.is_multicast
