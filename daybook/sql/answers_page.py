"""``daybook answers`` and ``docs/answers.md``: the list of questions, from the headers of their files."""

from __future__ import annotations

from daybook.settings import REPOSITORY
from daybook.sql.answers import ACROSS_DAYS, Answer, all_answers

ANSWERS_PAGE = REPOSITORY / "docs" / "answers.md"

_AREAS = {
    "user_behaviour": "What do users do?",
    "host_providers": "Which internet host providers do they come from?",
    ACROSS_DAYS: "What changes from day to day?",
}
_HEAD = """# The answers

Written by `daybook answers --write` out of the headers of the `.sql` files; a test keeps the two together. An answer
of a day is a table of the lake, `game.<answer>`, partitioned by `event_date` (UTC); its rows are published with the
day's page, when that balances. Those across days have no table: they are worked out from the published days when they
are asked for, so a restated day, or a backfill in any order, leaves none of them behind the times.

Events that name no player, and came with a request that names no host, are counted as one player, `unknown`: all of
them together are one more in each column `users`.

A new question is a new file: header, one statement, a column `event_date`. Its table, its rows in the report, its
entry here and, if it counts events, its line in the ledger follow from it.
"""


def answers_page() -> str:
    """Return the list of all answers as Markdown."""
    return "\n".join([_HEAD, *(_area(area, title) for area, title in _AREAS.items())])


def _area(area: str, title: str) -> str:
    entries = [_entry(one) for one in all_answers().values() if one.area == area]
    return "\n".join([f"## {title}\n", *entries])


def _entry(answer: Answer) -> str:
    file = f"spark/sql/{answer.area}/{answer.name}.sql"
    columns = "\n".join(f"| {name} | {_cell(meaning)} |" for name, meaning in answer.columns.items())
    sums = ""
    if answer.balance:
        of = f"the day's events where `{answer.balance.of}`" if answer.balance.of else "the day's events"
        sums = f" Its `{answer.balance.column}` add up to {of}, or the day is not published."
    looks = f" It looks at the last {answer.days} days." if answer.area == ACROSS_DAYS else ""
    players = " It names players: reports, files beside them and receipts show none of its rows."
    return (
        f"### {answer.name}\n\n{answer.question} {answer.grain[0].upper()}{answer.grain[1:]}.{looks}{sums}"
        f"{players if answer.names_players else ''}\n\n"
        f"| column | meaning |\n|---|---|\n{columns}\n\n"
        f"`daybook answer {answer.name} --day D` · [{answer.name}.sql](../{file})\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
