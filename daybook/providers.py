"""Finds the internet provider that a host belongs to.

The rule takes the registrable domain of a host name by the Public Suffix List (publicsuffix.org). It ignores the list's
private section, so that a domain under a hosting service counts as that service's. It looks the domain up in
``provider_aliases.csv``, never by substring: ``seattlefiber.com`` is not ``att``.

Hosts without a registrable domain have their own buckets. These are an IP address (also as its reverse name under
``arpa``, or in an unusual notation), a missing host, and a bare name. A bare name is a single label, a public suffix,
or a name under no public top-level domain, such as ``nas.local``. A domain that is not in the file is ``(unmapped)``;
it is stored, so that the answers can show it.
"""

from __future__ import annotations

import csv
import hashlib
import ipaddress
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from daybook.idn import ascii_name

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

ALIASES_FILE = Path(__file__).with_name("provider_aliases.csv")

IP_ADDRESS = "(ip address)"
BARE_NAME = "(bare name)"
MISSING = "(missing)"
UNMAPPED = "(unmapped)"
RULE_VERSION = 3
"""Increase it when the code below returns another provider for the same host, list and file."""

BUCKETS: tuple[str, ...] = (BARE_NAME, IP_ADDRESS, MISSING, UNMAPPED)
"""Names of the buckets, which are not providers: the brackets ensure that no alias can be equal to one."""


class Provider(NamedTuple):
    """The provider and domain of a host."""

    provider: str
    """Provider name of the alias file, or one of :data:`BUCKETS`."""
    domain: str | None
    """Registrable domain; None for the buckets without one."""


@lru_cache(maxsize=1)
def aliases() -> dict[str, str]:
    """Return registrable domain -> provider name."""
    with ALIASES_FILE.open(encoding="utf-8", newline="") as file:
        return {row["domain"]: row["provider"] for row in csv.DictReader(file)}


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    # an unknown top-level domain is not public: names under it are private
    return PublicSuffixList(only_icann=True, accept_unknown=False)


@lru_cache(maxsize=1)
def map_version() -> str:
    """Return the version of the provider map: of the rule, the alias file and the suffix list."""
    digest = hashlib.sha256(ALIASES_FILE.read_bytes()).hexdigest()[:12]
    return f"rule {RULE_VERSION}, aliases {digest}, suffixes {metadata.version('publicsuffixlist')}"


def resolve(host: str | None) -> Provider:
    """Return the provider of a host, as normalized by the contract or as another producer wrote it. Never raises.

    >>> resolve("user53.att.com")
    Provider(provider='att', domain='att.com')
    >>> resolve("c-73-1-2-3.hsd1.wa.comcast.net").provider
    'comcast'
    >>> resolve("user1.seattlefiber.com")
    Provider(provider='(unmapped)', domain='seattlefiber.com')
    >>> resolve("203.0.113.9").provider, resolve("localhost").provider, resolve(None).provider
    ('(ip address)', '(bare name)', '(missing)')
    """
    name = (host or "").strip().rstrip(".").lower()
    if not name:
        return Provider(MISSING, None)
    if _is_address(name):
        return Provider(IP_ADDRESS, None)
    domain = _suffixes().privatesuffix(_ascii(name))
    if domain is None:
        return Provider(BARE_NAME, None)
    return Provider(aliases().get(domain, UNMAPPED), domain)


def _is_address(name: str) -> bool:
    """Whether a name means an IP address: it is one, is its reverse name, or ends with a number."""
    written = name.removeprefix("[").partition("]")[0].partition("%")[0]
    # every address has a colon or ends in a digit; most hosts do neither, and the full check takes half of their time
    if ":" in written or written[-1:].isdigit():
        with suppress(ValueError):
            ipaddress.ip_address(written)
            return True
    # no top-level domain is a number, so "010.1.1.1" and "1.2.3" were meant as addresses (WHATWG URL, 3.5)
    _, dot, last = name.rpartition(".")
    return name.endswith((".in-addr.arpa", ".ip6.arpa")) or (bool(dot) and last.isdigit())


def _ascii(name: str) -> str:
    """Return an internationalised name in the form of the list (``xn--``); an invalid host name is unchanged."""
    with suppress(ValueError):
        return ascii_name(name)
    return name
