"""The ``daybook`` command: the table of its verbs. A verb's module is imported when the verb is called."""

from __future__ import annotations

import importlib
import os
import sys

import click

from daybook.cli.terminal import escape_streams
from daybook.errors import DaybookError, did_you_mean

GROUPS: dict[str, dict[str, str]] = {
    "Start and stop": {
        "up": "daybook.cli.stack:up",
        "down": "daybook.cli.stack:down",
        "status": "daybook.cli.days:status",
        "env": "daybook.cli.stack:env",
        "demo": "daybook.cli.demo:demo",
        "generate": "event_generator.command:generate",
    },
    "Read answers": {
        "answers": "daybook.cli.answers:list_answers",
        "answer": "daybook.cli.answers:answer",
        "query": "daybook.cli.answers:query",
        "compare": "daybook.cli.answers:compare_command",
        "export": "daybook.cli.operations:export",
        "provider": "daybook.cli.answers:provider",
    },
    "Check a day": {
        "verify": "daybook.cli.days:verify",
        "trace": "daybook.cli.days:trace",
        "receipts": "daybook.cli.days:receipts",
        "checks": "daybook.cli.days:checks",
        "rejected": "daybook.cli.corrections:rejected",
    },
    "Plan and correct": {
        "plan": "daybook.cli.days:plan",
        "replay": "daybook.cli.corrections:replay",
        "rebuild": "daybook.cli.corrections:rebuild",
        "dismiss": "daybook.cli.corrections:dismiss",
        "accept-loss": "daybook.cli.corrections:accept_loss",
        "forget-user": "daybook.cli.corrections:forget_user",
    },
    "Operate": {
        "backup": "daybook.cli.operations:backup",
        "restore": "daybook.cli.operations:restore",
        "adopt": "daybook.cli.operations:adopt",
        "exporter": "daybook.cli.operations:exporter",
        "create-topic": "daybook.cli.operations:create_topic",
        "api-key": "game_api.access:api_key",
        "contracts": "game_api.contracts:contracts",
    },
}
"""Purpose of a group -> its verbs -> location of the verb's click command, as ``module:name``."""

COMMANDS: dict[str, str] = {verb: target for verbs in GROUPS.values() for verb, target in verbs.items()}


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise click.UsageError(f"No such command {args[0]!r}.{did_you_mean(args[0], COMMANDS)}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, COMMANDS))
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                commands = [(verb, self.get_command(ctx, verb)) for verb in verbs]
                # one width for the names, so that the summaries of all groups are below each other
                formatter.write_dl(
                    [(verb.ljust(longest), command.get_short_help_str(200)) for verb, command in commands if command]
                )


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`daybook VERB --help` explains a verb. Exit status: 0 success, 1 failure or a problem was found, 2 invalid "
    "input. Guides: docs/README.md",
)
@click.version_option(package_name="daybook", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep the daily record of what players do in a game."""


def main() -> None:
    """Run the command; a DaybookError is printed as one line and sets the exit status, without a traceback."""
    escape_streams()
    # files of the command and of the programs that it starts contain secrets and users' rows
    os.umask(0o077)
    try:
        cli.main(standalone_mode=True)
    except DaybookError as error:
        click.echo(f"daybook: {error}", err=True)
        sys.exit(error.exit_status)
