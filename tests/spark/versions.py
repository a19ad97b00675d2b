"""Two versions of Daybook in one process, alongside each other on one lake: the current one and a grown contract.

``test_evolution.py`` runs this as a program, because its own modules must not be exchanged. The grown contract is the
source of ``daybook/contract.py`` with the additions that ``docs/operations.md`` describes: an optional field ``level``
of every event, and a type ``sell_item``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from daybook.jobs.java import java_home
from daybook.settings import REPOSITORY, Settings
from tests.dropped_in import SLOWEST, copy_of_answers

GROWN = {
    "    schema_version: Annotated[Literal[1]": "    level: int | None = Field(default=None)\n"
    "    schema_version: Annotated[Literal[1]",
    "AnyEvent = PurchaseItem | JoinGuild\n": "class SellItem(_Event):\n"
    '    event_type: Literal["sell_item"]\n'
    "    item: Name\n"
    "    guild: None = None\n\n\n"
    "AnyEvent = PurchaseItem | JoinGuild | SellItem\n",
    '    ("schema_version", "int"),\n)': '    ("schema_version", "int"),\n    ("level", "int"),\n)',
    'NULLABLE_FIELDS = frozenset({"item"': 'NULLABLE_FIELDS = frozenset({"level", "item"',
}
"""Text of the contract -> its replacement in the grown one."""
OURS = ("daybook", "daybook_spark", "tests", "game_api", "event_generator")


class Version:
    """The modules of one version; imports within its block are its own."""

    def __init__(self, sql: Path, *, grown: bool) -> None:
        self._sql, self._grown = sql, grown
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def loaded(self) -> Iterator[None]:
        others = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] in OURS}
        sys.modules.update(self._modules)
        try:
            if self._grown and "daybook.contract" not in sys.modules:
                self._load_grown_contract()
            vars(importlib.import_module("daybook.sql.answers"))["SQL_DIR"] = (
                self._sql
            )  # each version has its own module
            yield
        finally:
            mine = [name for name in sys.modules if name.split(".")[0] in OURS]
            self._modules = {name: sys.modules.pop(name) for name in mine}
            sys.modules.update(others)

    def _load_grown_contract(self) -> None:
        path = REPOSITORY / "daybook" / "contract.py"
        source = path.read_text(encoding="utf-8")
        for was, now in GROWN.items():
            assert source.count(was) == 1, was
            source = source.replace(was, now)
        package = importlib.import_module("daybook")
        module = ModuleType("daybook.contract")
        sys.modules["daybook.contract"] = module
        exec(compile(source, str(path), "exec"), module.__dict__)
        package.contract = module  # type: ignore[attr-defined]


class Play:
    """One lake, and the two versions of each part."""

    def __init__(self, home: Path) -> None:
        (home / "lake").mkdir(parents=True)
        sql = copy_of_answers(home, *SLOWEST)
        self.versions = {"old": Version(sql, grown=False), "new": Version(sql, grown=True)}
        self.settings = Settings(home=home)
        os.environ["JAVA_HOME"] = str(java_home())
        from daybook_spark.session import spark_session

        self.spark = spark_session("versions", self.settings)
        self.spark.sparkContext.setLogLevel("ERROR")
        self.rows: list[tuple[Any, ...]] = []
        self.runs = 0

    def intake(self, version: str, *events: dict[str, Any]) -> list[str]:
        """Take events as this version's intake does; return what it refused, by field."""
        refused = []
        with self.versions[version].loaded():
            from pydantic import ValidationError

            from daybook.contract import client_event, complete, encode

            for event in events:
                try:
                    validated = client_event.validate_python(event)
                except ValidationError as error:
                    refused.append(".".join(map(str, error.errors()[0]["loc"])) or error.errors()[0]["type"])
                    continue
                now = datetime(2026, 5, 4, 0, 0, 1, tzinfo=UTC)
                record = complete(validated, received_at=now, request_host="", user_agent="test")
                self.rows.append((b"key", encode(record), 0, len(self.rows), now))
        return refused

    def run(self, version: str, day: date) -> dict[str, Any]:
        """Run this version's steps; return what its readers then see of the day."""
        self.runs += 1
        with self.versions[version].loaded():
            from daybook_spark.building import create_tables
            from tests.spark.lake_run import Run
            from tests.spark.topic_records import Topic

            create_tables(self.spark, self.settings)
            topic = Topic(self.spark)
            topic.rows = self.rows
            run = Run(self.spark, self.settings, f"run-{self.runs}", day)
            run.land(topic)
            run.build().publish()
        return self.seen(version, day)

    def rebuild(self, version: str, day: date) -> dict[str, Any]:
        """Run ``daybook rebuild`` of this version."""
        self.runs += 1
        with self.versions[version].loaded():
            from daybook_spark.building import create_tables
            from daybook_spark.rebuilding import rebuild

            create_tables(self.spark, self.settings)
            rebuild(self.spark, self.settings, day, day, f"rebuild-{self.runs}", dry_run=False)
        return self.seen(version, day)

    def seen(self, version: str, day: date) -> dict[str, Any]:
        """Return the published day, read without Spark and by DuckDB."""
        with self.versions[version].loaded():
            from daybook.lake.answers import read_answer
            from daybook.lake.ledger import read_ledger
            from daybook.lake.query import open_lake
            from daybook.operations.verify import verify_day

            newest = read_ledger(self.settings).of(str(day))
            counts = {name: getattr(newest, name) for name in ("revision", "landed", "events", "rejected")}
            popular = read_answer(self.settings, "event_popularity", str(day))
            with open_lake(self.settings) as lake:
                names = [row[0] for row in lake.sql("DESCRIBE SELECT * FROM events").fetchall()]
                level = "SUM(level)" if "level" in names else "SUM(NULL::INT)"
                [[levels]] = lake.sql(f"SELECT {level} FROM events WHERE event_date = '{day}'").fetchall()
            wrong = [one.line for one in verify_day(self.settings, str(day)) if one.verdict == "DIFFERENT"]
            types = {kind: int(sum(rows["events"])) for kind, rows in popular.groupby("event_type")}
        return {**counts, "types": types, "levels": None if levels is None else int(levels), "wrong": wrong}


def main(home: Path, script: list[list[Any]]) -> list[Any]:
    """Run a list of steps, each a method of :class:`Play` with its arguments; return the result of each."""
    play = Play(home)
    try:
        results = []
        for verb, version, *arguments in script:
            values = [date.fromisoformat(one) if isinstance(one, str) else one for one in arguments]
            results.append(getattr(play, verb)(version, *values))
        return results
    finally:
        play.spark.stop()


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
    Path(sys.argv[3]).write_text(json.dumps(found), encoding="utf-8")
