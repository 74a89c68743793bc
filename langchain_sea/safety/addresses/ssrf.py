"""Addresses that lead into a private network, in any notation. Resolves no names."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import TYPE_CHECKING
from urllib.parse import unquote

from langchain_sea.safety.addresses.networks import INNER_NAME, NAME_OF_ADDRESS, NAME_SERVICE, Address, is_inner
from langchain_sea.safety.text.patterns import Danger, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["canonicalize_host", "find_bad_address", "find_inner_literal", "list_hosts"]

_NUM_BYTES = 4  # of an IPv4 address
_PAIR = 2  # numbers
_MAX_BYTE = 255
_MAX_ADDRESS = 16_384  # characters: no browser opens a longer one
_MAX_URLS = 200  # of one text that are judged
_BAD_SCHEMES = frozenset(
    "file gopher dict ldap ldaps ldapi jar netdoc tftp php expect phar zip glob ogg rar smb cifs nfs view-source javascript vbscript"
    " data unix npipe http+unix https+unix about chrome chrome-extension resource mhtml res ms-appx intent content mvg msl ephemeral".split()
)
_IGNORED = re.compile(
    "[\t\n\r\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that browsers drop from a host."""
_DOTS = str.maketrans({"。": ".", "．": ".", "｡": ".", "․": "."})
_URL = r"[a-z][a-z0-9+.-]{0,30}:[/\\]*[^\s\"'<>)}]+|(?:^|[\s\"'(=])[/\\]{2}[^\s\"'<>)}/\\]+"
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]{0,30}):", re.IGNORECASE)
_LONE_HOST = re.compile(
    r"^(?:\[[0-9a-f:.%\w]+\]|[^\s/@?#\\:,;()\[\]]+)(?::\d{1,5})?(?:[/?#].*)?$", re.IGNORECASE | re.DOTALL
)
_BARE_IPV6 = re.compile(r"^[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*(?:%[\w.-]+)?$", re.IGNORECASE)
_INNER_LITERAL = r"(?:^|[^\w.:/-])((?:10|127)(?:\.\d{1,3}){3}|(?:169\.254|192\.168|172\.(?:1[6-9]|2\d|3[01])|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))(?:\.\d{1,3}){2}|0\.0\.0\.0)(?:[:/]\d{1,5})?(?:[^\w.-]|$)"
_HOST_SETTING = r"(?:^|[\s;,{?&])(?:host|hostname|server|hostaddr|data source|address|addr|tcp)\s*=\s*['\"]?(?:tcp:)?([\w.:\[\]-]{3,120})"
_ADDRESS_PARAMETER = re.compile(
    r"[?&;](?:[\w.-]*(?:url|uri|link|host|domain|endpoint|callback|webhook|redirect|proxy|target|server|feed|site)|src|dest|next|to|continue|return|path|image|img|page|u|ip|addr)"
    r"(?:\[\])?=([^&#;\s]{3,300})",
    re.IGNORECASE,
)
_NESTED = re.compile(
    r"(?<=[=/?&:,;|(])(?:[a-z][a-z0-9+.-]{1,20}:)?//[^\s\"'<>)}]+|(?<=[=/?&,;|(])[a-z][a-z0-9+.-]{1,20}:/{1,3}[^\s\"'<>)}]+",
    re.IGNORECASE,
)
_MAX_NESTED = 20  # addresses within one address that are judged
_MAX_LEVELS = 3  # of percent signs


def find_bad_address(text: str, hosts: tuple[str, ...] | None, *, bare: bool) -> Danger | None:
    """Return why an address in the text must not be opened; None where all may be.

    Args:
        text: any text.
        hosts: that may be named, inner ones too, as names, addresses or networks; None allows all public ones.
        bare: whether the whole text may be a host without a scheme.
    """
    if bare and len(text) > _MAX_ADDRESS:
        return Danger(f"an address of {len(text)} characters cannot be judged")
    whole = _IGNORED.sub("", text) if bare else text
    if bare and (reason := _find_bad_scheme(whole.strip())):
        return Danger(reason, is_certain=True)
    for number, match in enumerate(compile_pattern(_URL).finditer(whole)):
        if number >= _MAX_URLS:
            return Danger(f"it names more than {_MAX_URLS} addresses, which are not all judged")
        url = match[0].strip(" \t\n\r\"'(=")
        if bare and (reason := _find_bad_scheme(url)):
            return Danger(reason, is_certain=True)
        for host in list_hosts(url):
            if danger := _judge_host(host, hosts, is_url="//" in url.replace("\\", "/")):
                return danger
        if danger := _judge_nested(url):
            return danger
    host_text = whole.strip()
    if bare and "@" not in host_text and not _SCHEME.match(re.sub(r":\d+(?=$|[/?#])", "", host_text)):
        if _BARE_IPV6.match(host_text):
            return _judge_host(host_text, hosts, is_url=False)
        if _LONE_HOST.match(host_text):
            host = re.split(r"[/?#]", host_text, maxsplit=1)[0]
            has_port = bool(re.search(r":\d+$", host)) and not host.endswith("]:")
            name = re.sub(r":\d{1,5}$", "", host)
            if "." in canonicalize_host(name) or has_port or name.startswith("[") or hosts is None:
                return _judge_host(name, hosts, is_url=has_port and not name.isdigit())
    return None


def find_inner_literal(text: str) -> Danger | None:
    """Return why a value that is no URL names an inner address: `10.0.0.5:5432`, `host=169.254.169.254`."""
    match = compile_pattern(_INNER_LITERAL).search(text)
    if match and (address := _parse_address(match[1], is_url=True)) and is_inner(address):
        return Danger(f"{match[1]!r} lies inside the network")
    for match in compile_pattern(_HOST_SETTING).finditer(text[:_MAX_ADDRESS]):
        name = re.sub(r"(?:,|:)\d{1,5}$", "", match[1])
        if danger := _judge_host(name, None, is_url=True):
            return Danger(danger.reason)
    return None


def _judge_nested(url: str) -> Danger | None:
    """Return why an address within an address must not be opened; the server may not pass it on, so it is a doubt."""
    rest = re.split(r"[/?#]", url.partition("//")[2], maxsplit=1)[-1]
    for _ in range(_MAX_LEVELS):
        tail = f"/{rest}"
        for number, match in enumerate(_NESTED.finditer(tail)):
            if number >= _MAX_NESTED:
                return Danger(f"it names more than {_MAX_NESTED} addresses within an address")
            if match[0].lower().startswith(("file:", "gopher:", "dict:")):
                return Danger(f"{match[0][:80]!r} within an address is not an address of the web")
            for host in list_hosts(match[0]):
                if (danger := _judge_host(host, None, is_url="//" in match[0])) and "name inside" not in danger.reason:
                    return Danger(f"an address within it: {danger.reason}")
        for match in list(_ADDRESS_PARAMETER.finditer(tail.replace("/?", "?&", 1)))[:_MAX_NESTED]:
            host = re.sub(r":\d{1,5}$", "", re.split(r"[/?#]", match[1], maxsplit=1)[0])
            if (address := _parse_address(canonicalize_host(host), is_url=False)) and is_inner(address):
                return Danger(f"an address within it: {host!r} lies inside the network")
        decoded = unquote(rest)
        if decoded == rest:
            break
        rest = decoded
    return None


def list_hosts(url: str) -> Iterator[str]:
    """Yield each host that some reader takes from a URL: readers differ about backslashes, `@` and missing slashes."""
    rest = url
    while match := _SCHEME.match(rest):  # `jdbc:mysql://…`, `url:http://…`
        rest = rest[match.end() :]
    if rest == url and not url.startswith(("//", "\\\\", "/\\", "\\/")):
        return
    seen = set()
    for text in (rest.replace("\\", "/"), rest):
        authority = re.split(r"[/?#]", text.lstrip("/\\"), maxsplit=1)[0]
        whole = authority.split("\\")[0] if "@" in authority else authority
        for part in (*reversed(authority.split("@")[1:]), whole):
            is_ipv6 = part.endswith("]") or (part.count(":") > 1 and "[" not in part)
            host = (part if is_ipv6 else re.sub(r":\d*$", "", part)).split("\\", maxsplit=1)[0]
            if host and host not in seen:
                seen.add(host)
                yield host


def canonicalize_host(host: str) -> str:
    """Return a host as a browser reads it: decoded, in plain letters and digits, without characters that it ignores."""
    for _ in range(3):
        decoded = unquote(host)
        if decoded == host:
            break
        host = decoded
    host = host.split("\0", maxsplit=1)[0]
    plain = unicodedata.normalize("NFKC", _IGNORED.sub("", host.translate(_DOTS))).translate(_DOTS)
    return plain.strip().strip("[]").rstrip(".").lower()


def _find_bad_scheme(url: str) -> str | None:
    """Return why the scheme, or one inside of it, is not the web's."""
    rest = url.lstrip("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c ")
    while match := _SCHEME.match(rest):
        if match[1].lower() in _BAD_SCHEMES and not rest.lower().startswith("about:blank"):
            return f"{url[:80]!r} is not an address of the web"
        rest = rest[match.end() :]
    return None


def _judge_host(text: str, hosts: tuple[str, ...] | None, *, is_url: bool) -> Danger | None:
    """Return why a host must not be opened; `is_url` is False where the text may be something else."""
    host = canonicalize_host(text)
    if not host:
        return None
    address = _parse_address(host, is_url=is_url)
    if hosts is not None and _is_allowed(host, address, hosts):
        return None
    if address is not None and is_inner(address):
        return Danger(f"{host!r} lies inside the network ({address})", is_certain=True)
    if address is None and (INNER_NAME.search(host) or _is_inner_name_of_address(host)):
        return Danger(f"{host!r} lies inside the network", is_certain=True)
    if address is None and is_url and NAME_OF_ADDRESS.search(host):
        return Danger(f"{host!r} has the name of an address inside a network")
    if address is None and is_url and "." not in host and ":" not in host:
        return Danger(f"{host!r} is a name inside a network", is_certain=True)
    if hosts is not None and (is_url or "." in host or address is not None):
        return Danger(f"{host!r} is none of the allowed hosts: {', '.join(hosts)}", is_certain=True)
    return None


def _is_allowed(host: str, address: Address | None, hosts: tuple[str, ...]) -> bool:
    for entry in hosts:
        allowed = entry.lower().strip("[]").removeprefix("*.")
        if host == allowed or (address is None and host.endswith(f".{allowed}")):
            return True
        if address is not None and re.fullmatch(r"[0-9a-f.:]+(?:/\d+)?", allowed) and re.search(r"[.:]", allowed):
            try:
                if address in ipaddress.ip_network(allowed, strict=False):
                    return True
            except ValueError:
                continue
    return False


def _is_inner_name_of_address(host: str) -> bool:
    """Return whether a name such as `10-0-0-1.nip.io` stands for an inner address; one that cannot be read does."""
    if not NAME_SERVICE.search(host):
        return False
    for pattern in (
        r"(?:^|[.-])(\d{1,3})[.-](\d{1,3})[.-](\d{1,3})[.-](\d{1,3})(?=[.-])",
        r"(?:^|[.-])([0-9a-f]{8})(?=\.)",
    ):
        if match := re.search(pattern, host):
            number = ".".join(match.groups()) if len(match.groups()) > 1 else str(int(match[1], 16))
            address = _parse_address(number, is_url=True)
            return address is None or is_inner(address)
    return True


def _parse_address(host: str, *, is_url: bool) -> Address | None:
    """Parse an IP address; also of fewer than four numbers, octal or hexadecimal, as resolvers do."""
    try:
        return ipaddress.ip_address(host.split("%", maxsplit=1)[0])
    except ValueError:
        pass
    parts = host.split(".")
    is_pair = len(parts) == _PAIR  # `127.1`; without a scheme only where it cannot be a number such as 1.5
    if len(parts) > _NUM_BYTES or (len(parts) < _NUM_BYTES and not (is_url or is_pair or host.startswith("0x"))):
        return None
    if is_pair and not is_url and not re.match(r"(?:127|0x|0\d|10)\.?", host):
        return None
    try:
        *heads, last = [_parse_number(part) for part in parts]
    except ValueError:
        return None
    if any(head > _MAX_BYTE for head in heads) or last >= 256 ** (_NUM_BYTES + 1 - len(parts)):
        return ipaddress.IPv4Address(last % 2**32) if len(parts) == 1 and is_url else None
    return ipaddress.IPv4Address(sum(head << (24 - 8 * i) for i, head in enumerate(heads)) + last)


def _parse_number(part: str) -> int:
    if not re.fullmatch(r"0x[0-9a-f]*|\d+", part) or len(part) > 40:  # noqa: PLR2004 - no address is that long
        raise ValueError(part)
    if re.fullmatch(r"0[0-7]+", part):
        return int(part, 8)
    return int(part[2:] or "0", 16) if part.startswith("0x") else int(part)
