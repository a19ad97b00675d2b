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


@click.command(short_help="List all answers with their questions.")
@click.option("--write", is_flag=True, help="Rewrite docs/answers.md.")
@json_option("A JSON list of objects, with grain and columns.")
def list_answers(write: bool, as_json: bool) -> None:
    """List every answer with its question; `daybook answer NAME --day D` prints its rows."""
    if write:
        ANSWERS_PAGE.write_text(answers_page(), encoding="utf-8")
        click.echo(ANSWERS_PAGE.relative_to(REPOSITORY))
        return
    if as_json:
        rows = [
            {"answer": one.name, "area": one.area, "question": one.question, "grain": one.grain, "columns": one.columns}
            for one in all_answers().values()
        ]
        print_json(rows)
        return
    print_table("Answers", [{"answer": one.name, "question": one.question} for one in all_answers().values()])


@click.command(short_help="Print a day's answer.")
@click.argument("name")
@day_option(required=True)
@json_option("A JSON list of row objects.")
def answer(name: str, day: str, as_json: bool) -> None:
    """Print the rows of answer NAME for a day, as published. It reads the lake directly; the stack need not be up."""
    rows = answer_rows(read_ledger(load_settings()), name, day)
    if as_json:
        print_json(rows)
    else:
        print_table(f"{name}, {day}", rows)


@click.command(short_help="Run your own SQL on the published days.")
@click.argument("sql")
@json_option("A JSON list of row objects.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values with a header line, for programs.")
def query(sql: str, as_json: bool, as_csv: bool) -> None:
    """Run one statement of DuckDB's SQL, read-only, and print its rows.

    The tables are `events`, `rejected_events` and every answer, with the published days; and `raw_events`, `day_ledger`
    and the lake's other tables. `SHOW TABLES` lists them. Columns of the same name are numbered: `item`, `item_1`.

    CSV contains every text unchanged. A spreadsheet would run a text such as "=..." as a formula; for one, use the
    report's CSV files.
    """
    if as_json and as_csv:
        raise BadInput("--json and --csv exclude each other; choose one")
    columns, rows = query_table(load_settings(), sql)
    if as_csv:
        # not with click, which removes what looks like a colour
        for_programs().write(csv_text(columns, json_rows(rows)))
    elif as_json:
        print_json(json_rows(rows))
    else:
        print_table(f"{len(rows):,} row{'' if len(rows) == 1 else 's'}", rows, exact=True)


@click.command("compare", short_help="Compare a day with the days before it.")
@day_option(required=True)
@json_option("The whole comparison as one JSON object.")
def compare_command(day: str, as_json: bool) -> None:
    """Show whether a day deviates from the days before it: its number of events, its mixes, and drops."""
    found = compare(read_ledger(load_settings()), day)
    if as_json:
        print_json(found.as_json())
        return
    for sentence in found.sentences:
        click.echo(sentence)
    click.echo()
    print_table(
        f"{day} compared with the days before",
        [
            {
                "measure": one.measure,
                "value": one.value,
                "day before": _with_change(one.day_before, one.since_day_before),
                "week's mean": _with_change(one.week_mean, one.since_week),
                "same weekday": _with_change(one.same_weekday, one.since_same_weekday),
            }
            for one in found.measures
        ],
        numbers=("day before", "week's mean", "same weekday"),
    )


@click.command(short_help="Show which provider a host belongs to, and why.")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@json_option("A JSON list of objects.")
def provider(hosts: tuple[str, ...], as_json: bool) -> None:
    """Show how the intake stores each HOST, its registrable domain (Public Suffix List), its provider, and why."""
    rows = [explain(host) for host in hosts]
    if as_json:
        print_json(rows)
    else:
        print_table(f"Providers by {map_version()}", rows)


def _with_change(before: float | None, change: float | None) -> str | None:
    """Return an earlier figure, and the day's change from it."""
    if before is None:
        return None
    if change is None:
        return f"{before:,.0f}"
    # tenths of a percent mean nothing in a change of 100 % or more
    return f"{before:,.0f} ({100 * change:+,.{0 if abs(change) >= 1 else 1}f} %)"
