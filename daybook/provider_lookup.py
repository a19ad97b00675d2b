"""``daybook provider``: which provider a host belongs to, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from daybook.contract import clean_host
from daybook.errors import BadInput
from daybook.providers import ALIASES_FILE, BARE_NAME, IP_ADDRESS, MISSING, UNMAPPED, map_version, resolve
from daybook.reading import print_table

REASONS = {
    MISSING: "there is no host",
    IP_ADDRESS: "an address says nothing of a provider; look-ups in the network are not made",
    BARE_NAME: "a single label, a public suffix, or a name under no public top-level domain",
    UNMAPPED: f"{ALIASES_FILE.name} does not know the domain; a line of it would name its provider",
}


def explain(host: str) -> dict[str, Any]:
    """What becomes of a host: ``host`` as given, ``kept`` by the contract, ``domain``, ``provider`` and ``why``.

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
        "why": REASONS.get(provider, f"{ALIASES_FILE.name} says so of {domain}"),
    }


@click.command(short_help="Say which provider a host belongs to, and why.")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@click.option("--json", "as_json", is_flag=True, help="A JSON list of objects.")
def provider(hosts: tuple[str, ...], as_json: bool) -> None:
    """Say of each HOST how the intake keeps it, its registrable domain (Public Suffix List), its provider and why."""
    rows = [explain(host) for host in hosts]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        print_table(f"Providers by {map_version()}", rows)
