"""Which internet host provider a host belongs to.

The rule: an IP address, a bare name and a missing host are buckets of their own; of any other host the registrable
domain is taken by the Public Suffix List (publicsuffix.org, private section left out, so that a domain under a
hosting service counts as that service's) and looked up in ``provider_aliases.csv``. Never by substring:
``seattlefiber.com`` is not ``att``. A domain the file does not know is ``(unmapped)``; its domain is kept, so that
the answers can say what it was.
"""

from __future__ import annotations

import csv
import hashlib
import ipaddress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

ALIASES_FILE = Path(__file__).with_name("provider_aliases.csv")

IP_ADDRESS = "(ip address)"
BARE_NAME = "(bare name)"
MISSING = "(missing)"
UNMAPPED = "(unmapped)"
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

    return PublicSuffixList(only_icann=True)


@lru_cache(maxsize=1)
def map_version() -> str:
    """Names the rule that gave a page its providers: digest of the alias file, and the suffix list's version."""
    digest = hashlib.sha256(ALIASES_FILE.read_bytes()).hexdigest()[:12]
    return f"aliases {digest}, suffixes {metadata.version('publicsuffixlist')}"


def resolve(host: str | None) -> Provider:
    """The provider of a host name as the contract keeps it (lower case, ASCII, no port).

    >>> resolve("user53.att.com")
    Provider(provider='att', domain='att.com')
    >>> resolve("c-73-1-2-3.hsd1.wa.comcast.net").provider
    'comcast'
    >>> resolve("user1.seattlefiber.com")
    Provider(provider='(unmapped)', domain='seattlefiber.com')
    >>> resolve("203.0.113.9").provider, resolve("localhost").provider, resolve(None).provider
    ('(ip address)', '(bare name)', '(missing)')
    """
    name = (host or "").strip().removesuffix(".").lower()
    if not name:
        return Provider(MISSING, None)
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return Provider(IP_ADDRESS, None)
    domain = _suffixes().privatesuffix(name)
    if domain is None:  # a single label, or a public suffix itself
        return Provider(BARE_NAME, None)
    return Provider(aliases().get(domain, UNMAPPED), domain)
