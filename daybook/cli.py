"""The ``daybook`` command: a table of verbs; each verb lives beside the part that does its work.

Verbs are imported when they are called, so that ``daybook answer`` loads no process manager and ``daybook up`` no
pandas.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from daybook.errors import DaybookError
from daybook.terminal import escape_streams

COMMANDS: dict[str, str] = {
    "up": "daybook.stack.commands:up",
    "down": "daybook.stack.commands:down",
    "env": "daybook.stack.commands:env",
    "create-topic": "daybook.kafka_topic:create_topic",
    "demo": "daybook.demo:demo",
    "generate": "event_generator.command:generate",
    "api-key": "game_api.access:api_key",
    "contracts": "game_api.contracts:contracts",
    "status": "daybook.reading:status",
    "answer": "daybook.reading:answer",
    "answers": "daybook.answer_docs:list_answers",
    "query": "daybook.query:query",
    "compare": "daybook.compare:compare_command",
    "trace": "daybook.trace:trace",
    "verify": "daybook.verify:verify",
    "export": "daybook.export:export",
    "provider": "daybook.provider_lookup:provider",
    "receipts": "daybook.receipts:receipts",
    "checks": "daybook.receipts:checks",
    "rejected": "daybook.rejected:rejected",
    "replay": "daybook.replay:replay",
    "rebuild": "daybook.rebuild:rebuild",
    "plan": "daybook.plan:plan",
    "exporter": "daybook.exporter:exporter",
    "accept-loss": "daybook.losses:accept_loss",
    "backup": "daybook.backup:backup",
    "restore": "daybook.restore:restore",
    "adopt": "daybook.adopt:adopt",
    "forget-user": "daybook.erasure:forget_user",
}
"""Verb -> where its click command is, as ``module:name``."""


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """The daily record of what players do in a game."""


def main() -> None:
    """Run the command; an error meant for the reader is one line and its own exit status, never a traceback."""
    escape_streams()
    # what the command and the programs that it starts write holds secrets and players' rows
    os.umask(0o077)
    try:
        cli.main(standalone_mode=True)
    except DaybookError as error:
        click.echo(f"daybook: {error}", err=True)
        sys.exit(error.exit_status)
