"""``daybook contracts``: the contract as files, for those who write clients and readers in other languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from daybook.contract import event_schema, record_schema
from daybook.settings import REPOSITORY, Settings
from game_api.openapi import document

CONTRACTS_DIR = REPOSITORY / "contracts"


def contract_files() -> dict[str, dict[str, Any]]:
    """File name -> content, for the default settings, whatever this shell's are."""
    defaults = Settings.model_construct()
    return {
        "event.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "Event",
            "description": "An event as a client sends it.",
            **event_schema(defaults.items),
        },
        "record.schema.json": record_schema(),
        "openapi.json": document(defaults),
    }


def text_of(content: dict[str, Any]) -> str:
    """Return the text of a contract's file."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@click.command(short_help="Write the contract's files again.")
def contracts() -> None:
    """Write JSON Schema and OpenAPI into contracts/, from the models that the intake runs with."""
    CONTRACTS_DIR.mkdir(exist_ok=True)
    for name, content in contract_files().items():
        Path(CONTRACTS_DIR / name).write_text(text_of(content), encoding="utf-8")
        click.echo(f"contracts/{name}")
