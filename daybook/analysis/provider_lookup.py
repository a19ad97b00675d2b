"""``daybook provider``: which provider a host belongs to, and why."""

from __future__ import annotations

from typing import Any

from daybook.contract import clean_host
from daybook.errors import BadInput
from daybook.providers import ALIASES_FILE, BARE_NAME, IP_ADDRESS, MISSING, UNMAPPED, resolve

REASONS = {
    MISSING: "there is no host",
    IP_ADDRESS: "an IP address does not identify a provider; Daybook makes no network look-ups",
    BARE_NAME: "a single label, a public suffix, or a name under no public top-level domain",
    UNMAPPED: f"{ALIASES_FILE.name} has no line for the domain; add one to name its provider",
}


def explain(host: str) -> dict[str, Any]:
    """Explain the provider of a host: ``host`` as given, ``kept`` by the contract, ``domain``, ``provider``, ``why``.

    Raises:
        BadInput: the intake would refuse it.
    """
    try:
        kept = clean_host(host)
    except ValueError as error:
        raise BadInput(f"{host!r} {error}: the intake refuses it, so it has no provider") from None
    provider, domain = resolve(kept)
    return {
        "host": host,
        "kept": kept,
        "domain": domain,
        "provider": provider,
        "why": REASONS.get(provider, f"{ALIASES_FILE.name} maps {domain} to it"),
    }
