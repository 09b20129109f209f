"""Which addresses the service calls for a tenant: public ones, whatever name stands for them (server-side request
forgery). A name is resolved once, every address it has must be allowed, and the call goes to one of these addresses:
what the name means a moment later does not matter.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from core.errors import InputError, PolicyError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MOST_LETTERS = 2000
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits
# Form of an address that can be called: a name or an IP address, a port, a path; no user, no password, no fragment.
H16 = "[0-9A-Fa-f]{1,4}"
IPV6 = "|".join(
    (  # RFC 4291, section 2.2: eight groups, or fewer and :: in the place of the rest
        f"({H16}:){{7}}{H16}",
        f"({H16}:){{1,7}}:",
        *(f"({H16}:){{1,{7 - count}}}(:{H16}){{1,{count}}}" for count in range(1, 7)),
        f":((:{H16}){{1,7}}|:)",
    )
)
PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
CALLED = rf"^https?://([A-Za-z0-9._~-]+|\[({IPV6})\])(:({PORT}))?([/?][!-\"$-\[\]-~]*)?$"
HINT = "name a public https address"


@dataclass(frozen=True)
class Rules:
    """What the operator allows beside public addresses: networks, and http beside https in these networks. `ca`: a
    file with certificates (PEM) that are trusted beside the system's."""

    networks: tuple[Network, ...] = ()
    http: bool = False
    ca: str = ""


STRICT = Rules()


def rules_of(networks: Sequence[str], ca: str = "") -> Rules:
    """Rules of what an operator writes: 10.1.0.0/16, fd00::/8, 127.0.0.1. `InputError` for what is no network, or a
    file without certificates."""
    found = []
    for text in networks:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise InputError(f"no network: {error}", where=text, hint="write 10.1.0.0/16") from None
    if ca:
        try:
            ssl.create_default_context().load_verify_locations(ca)
        except (OSError, ssl.SSLError) as error:
            told = error.strerror or str(error)
            raise InputError(f"no certificates can be read: {told}", where=ca, hint="give a PEM file") from None
    return Rules(tuple(found), http=bool(found), ca=ca)


@dataclass(frozen=True)
class Target:
    """Where to call: `address` is what is connected to, `host` what certificate and header say."""

    scheme: str
    host: str
    port: int
    address: str
    path: str


def check_url(url: str, rules: Rules = STRICT) -> SplitResult:
    """`InputError` unless `url` has the form of an address, `PolicyError` where it may not be called; names are not
    resolved here."""
    if len(url) > MOST_LETTERS or not url.isascii() or any(ord(letter) < 33 or letter == "\\" for letter in url):
        raise InputError("not an address that can be called", hint=HINT)
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise InputError("not an address that can be called", where=url[:80], hint=HINT) from error
    if parts.scheme not in {"https", "http"}:
        raise InputError("only https is called", where=url[:80], hint=HINT)
    if parts.scheme == "http" and not rules.http:
        raise PolicyError("only https is called", where=url[:80], hint=HINT)
    if not host or parts.username is not None or parts.password is not None or parts.fragment or port == 0:
        raise InputError("not a plain address", where=host or "", hint="leave out user, password and fragment")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return parts
    if not may_call(literal, rules):
        raise PolicyError("this address is not public", where=host[:80], hint=HINT)
    return parts


def may_call(address: Address, rules: Rules = STRICT) -> bool:
    """Whether an address is public, by IANA's registries of special addresses, or in a network that is allowed."""
    if any(address.version == network.version and address in network for network in rules.networks):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return may_call(inner, rules)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


Resolve = Callable[[str, int], list[str]]


def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of a name; none where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def target_of(url: str, rules: Rules = STRICT, resolve: Resolve = resolve_name) -> Target:
    """Where to call for `url`. `PolicyError` where the name has no address, or one that may not be called."""
    parts = check_url(url, rules)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = resolve(host, port)
    if not addresses:
        raise PolicyError("this name has no address", where=host[:80])
    for address in addresses:
        parsed = ipaddress.ip_address(address.split("%")[0])
        if not may_call(parsed, rules):
            raise PolicyError("this name leads to an address that is not public", where=host[:80], hint=HINT)
        if parts.scheme == "http" and not any(
            parsed.version == network.version and parsed in network for network in rules.networks
        ):
            raise PolicyError("http is called in the networks alone that are allowed", where=host[:80], hint=HINT)
    path = parts.path or "/"
    return Target(parts.scheme, host, port, addresses[0], f"{path}?{parts.query}" if parts.query else path)
