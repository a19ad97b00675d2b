"""The verbs that read answers: answers, answer, query, compare, provider."""

from __future__ import annotations

import click

from daybook.analysis.compare import compare
from daybook.analysis.provider_lookup import explain
from daybook.cli.options import day_option, json_option
from daybook.cli.output import print_json, print_table
from daybook.cli.terminal import for_programs
from daybook.errors import BadInput
from daybook.formatting import csv_text, json_rows
from daybook.lake.answers import answer_rows
from daybook.lake.ledger import read_ledger
from daybook.lake.query import query_table
from daybook.providers import map_version
from daybook.settings import REPOSITORY, load_settings
from daybook.sql.answers import all_answers
from daybook.sql.answers_page import ANSWERS_PAGE, answers_page


@click.command(short_help="List the questions that are answered.")
@click.option("--write", is_flag=True, help="Write docs/answers.md again.")
@json_option("A JSON list of objects, with grain and columns.")
def list_answers(write: bool, as_json: bool) -> None:
    """List every answer with its question; `daybook answer NAME --day D` prints its rows."""
    if write:
        ANSWERS_PAGE.write_text(answers_page(), encoding="utf-8")
        click.echo(ANSWERS_PAGE.relative_to(REPOSITORY))
        return
    if as_json:
        told = [
            {"answer": one.name, "area": one.area, "question": one.question, "grain": one.grain, "columns": one.columns}
            for one in all_answers().values()
        ]
        print_json(told)
        return
    print_table("Answers", [{"answer": one.name, "question": one.question} for one in all_answers().values()])


@click.command(short_help="Print a day's answer.")
@click.argument("name")
@day_option(required=True)
@json_option("A JSON list of row objects.")
def answer(name: str, day: str, as_json: bool) -> None:
    """Print the rows of answer NAME for a day, as published. The lake is read directly: nothing needs to be up."""
    rows = answer_rows(read_ledger(load_settings()), name, day)
    if as_json:
        print_json(rows)
    else:
        print_table(f"{name}, {day}", rows)


@click.command(short_help="Run SQL of your own over the published days.")
@click.argument("sql")
@json_option("A JSON list of row objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, a header first, for programs.")
def query(sql: str, as_json: bool, as_csv: bool) -> None:
    """Run one statement in DuckDB's SQL and print its rows. Nothing can be written.

    The tables are `events`, `rejected_events` and every answer, with the published days; and `raw_events`, `day_ledger`
    and the lake's other tables. `SHOW TABLES` lists them. Columns of the same name are numbered: `item`, `item_1`.

    CSV has every text as it is. A spreadsheet would run a player's "=..." as a formula: the report's files are for it.
    """
    if as_json and as_csv:
        raise BadInput("--json and --csv are two forms; choose one")
    columns, rows = query_table(load_settings(), sql)
    if as_csv:
        # not by click, which leaves out what looks like a colour
        for_programs().write(csv_text(columns, json_rows(rows)))
    elif as_json:
        print_json(json_rows(rows))
    else:
        print_table(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}", rows, exact=True)


@click.command("compare", short_help="Hold a day against the days before it.")
@day_option(required=True)
@json_option("All of it as one JSON object.")
def compare_command(day: str, as_json: bool) -> None:
    """Say whether a day deviates from the days before it: its events, its mixes, and what has dropped."""
    found = compare(read_ledger(load_settings()), day)
    if as_json:
        print_json(found.as_json())
        return
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo()
    print_table(
        f"{day} beside the days before",
        [
            {
                "measure": one.measure,
                "value": one.value,
                "day before": _beside(one.day_before, one.since_day_before),
                "week's mean": _beside(one.week_mean, one.since_week),
                "same weekday": _beside(one.same_weekday, one.since_same_weekday),
            }
            for one in found.measures
        ],
        numbers=("day before", "week's mean", "same weekday"),
    )


@click.command(short_help="Say which provider a host belongs to, and why.")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@json_option("A JSON list of objects.")
def provider(hosts: tuple[str, ...], as_json: bool) -> None:
    """Say of each HOST how the intake keeps it, its registrable domain (Public Suffix List), its provider and why."""
    rows = [explain(host) for host in hosts]
    if as_json:
        print_json(rows)
    else:
        print_table(f"Providers by {map_version()}", rows)


def _beside(before: float | None, change: float | None) -> str | None:
    """A figure of before, and how far the day is from it."""
    if before is None:
        return None
    if change is None:
        return f"{before:,.0f}"
    # of a change of several times nobody reads the tenths
    return f"{before:,.0f} ({100 * change:+,.{0 if abs(change) >= 1 else 1}f} %)"
