"""Which internet host provider a host belongs to.

The rule: of a host name the registrable domain is taken by the Public Suffix List (publicsuffix.org, private section
left out, so that a domain under a hosting service counts as that service's) and looked up in
``provider_aliases.csv``. Never by substring: ``seattlefiber.com`` is not ``att``. What has no registrable domain stands
in a bucket of its own: an IP address (also as its reverse name under ``arpa``, or spelt oddly), a missing host, a bare
name (a single label, a public suffix, or a name under no public top-level domain, such as ``nas.local``). A domain that
the file does not know is ``(unmapped)``; it is kept, so that the answers can say what it was.
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
"""Raised when the code below names another provider for the same host, list and file."""

BUCKETS: tuple[str, ...] = (BARE_NAME, IP_ADDRESS, MISSING, UNMAPPED)
"""Provider names that are not providers: in brackets, so that no alias can ever be one of them."""


class Provider(NamedTuple):
    """What a host resolves to."""

    provider: str
    """Provider name of the alias file, or one of :data:`BUCKETS`."""
    domain: str | None
    """Registrable domain, null for the buckets that have none."""


@lru_cache(maxsize=1)
def aliases() -> dict[str, str]:
    """Registrable domain -> provider name."""
    with ALIASES_FILE.open(encoding="utf-8", newline="") as file:
        return {row["domain"]: row["provider"] for row in csv.DictReader(file)}


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    # an unknown top-level domain is nobody's: names under it are private
    return PublicSuffixList(only_icann=True, accept_unknown=False)


@lru_cache(maxsize=1)
def map_version() -> str:
    """Names the rule that gave a page its providers: the rule's, the alias file's and the suffix list's version."""
    digest = hashlib.sha256(ALIASES_FILE.read_bytes()).hexdigest()[:12]
    return f"rule {RULE_VERSION}, aliases {digest}, suffixes {metadata.version('publicsuffixlist')}"


def resolve(host: str | None) -> Provider:
    """The provider of a host, as the contract keeps it or as another producer wrote it. Never raises.

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
    """Whether a name stands for an IP address: written as one, as its reverse name, or with a number for its end."""
    written = name.removeprefix("[").partition("]")[0].partition("%")[0]
    # every address holds a colon or ends in a digit; most hosts do neither, and asking takes half the time they take
    if ":" in written or written[-1:].isdigit():
        with suppress(ValueError):
            ipaddress.ip_address(written)
            return True
    # no top-level domain is a number, so "010.1.1.1" and "1.2.3" were meant as addresses (WHATWG URL, 3.5)
    _, dot, last = name.rpartition(".")
    return name.endswith((".in-addr.arpa", ".ip6.arpa")) or (bool(dot) and last.isdigit())


def _ascii(name: str) -> str:
    """An internationalised name as the list has it (``xn--``); one that cannot be a host name as it is."""
    with suppress(ValueError):
        return ascii_name(name)
    return name
