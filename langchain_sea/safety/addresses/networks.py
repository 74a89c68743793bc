"""Which IP addresses and names lie inside a network. A table, so that no version of Python decides."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["INNER_NAME", "NAME_OF_ADDRESS", "NAME_SERVICE", "Address", "is_inner"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_INNER_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "168.63.129.16/32", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_INNER_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "::/127", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20",
        "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_EMBEDDED = (  # the network, and how many bits lie behind the IPv4 address in it
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("2002::/16"), 80),
    (ipaddress.IPv6Network("::/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
)
_ISATAP = 0x5EFE  # the word before an IPv4 address in the lower half of an ISATAP address
INNER_NAME = re.compile(
    r"(?:^|\.)(?:localhost|local|internal|intranet|corp|lan|home|localdomain|private|svc|consul|docker|cluster|metadata|instance-data"
    r"|kubernetes|home\.arpa|localhost\d|ip6-localhost|ip6-loopback|loopback|broadcasthost|host\.docker\.internal|wpad|intra|priv|intern|lokal|mesh"
    r"|workgroup|domain|belkin|dlink|gateway|router|nas)$"
    r"|(?:^|\.)localhost\.|^localhost-"
    r"|(?:^|\.)(?:metadata\.google|metadata\.tencentyun\.com|metadata\.platformequinix\.com|kubernetes\.default.*)$"
    r"|(?:^|\.)(?:localtest\.me|lvh\.me|vcap\.me|lacolhost\.com|localho\.st|local\.gd|yoogle\.com|127-0-0-1\.org\.uk|rbndr\.us|1u\.ms|lndo\.site|ddev\.site"
    r"|spoofed\.burpcollaborator\.net|fuf\.me|domaincontrol\.local|localhost\.(?:direct|run)|smackaho\.st|bugbounty\.dod\.network|42foo\.com|beweb\.com|127001\.me|loopback\.(?:jp|world))$"
    r"|(?:^|\.)(?:fritz\.(?:box|nas|repeater|powerline)|speedport\.ip|easy\.box|routerlogin\.(?:net|com)|tplink(?:wifi|login|modem|repeater|extender)?\.(?:net|com)|router\.asus\.com"
    r"|asusrouter\.com|my\.(?:jetpack|keenetic\.net|router)|myfritz\.box|mywifi(?:ext)?\.(?:net|local)|miwifi\.com|orbilogin\.(?:net|com)|arris\.home|ui\.direct|unifi|pi\.hole|homeassistant|diskstation)$"
)
"""Names that lead to the machine itself, to its own network, or to a router at home."""
NAME_SERVICE = re.compile(
    r"(?:^|\.)(?:nip\.io|xip\.io|sslip\.io|traefik\.me|local-ip\.(?:co|sh|medicmobile\.org)|ip6\.name|backname\.io|plex\.direct)$"
)
NAME_OF_ADDRESS = re.compile(
    r"(?:^|[.-])(?:(?:10|127)(?:[.-]\d{1,3}){3}|(?:169[.-]254|192[.-]168|172[.-](?:1[6-9]|2\d|3[01]))(?:[.-]\d{1,3}){2})[.-]"
)
"""Names that look as if they stood for the inner address in them, and the services whose names do."""


def is_inner(address: Address) -> bool:
    """Return whether an address is not one of the public internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _INNER_V4)
    if any(address in network for network in _INNER_V6):
        return True
    for network, shift in _EMBEDDED:
        if address in network:
            return is_inner(ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF))
    if (int(address) >> 32) & 0xFFFF == _ISATAP:
        return is_inner(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return not address.is_global
