"""Erasing a player: from every table and file, without losing another player's rows or a day's balance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from daybook.contract import EXAMPLES
from daybook.errors import DaybookError
from daybook.lake.catalog import load
from daybook.lake.tables import EVENTS, RAW_EVENTS, REJECTED_EVENTS, TABLES
from daybook.pipeline.erasures import user_digest
from daybook.pipeline.position import position
from daybook.settings import Settings
from daybook.sql.answers import answers
from daybook_spark.erasing import _records, forget
from tests.spark.lake_run import DAY, NEXT_DAY, Begin, MakeRun, Run, an_id, newest_row, one_event, rows
from tests.spark.topic_records import Topic, manifest

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("six_answers")]


def two_players(topic: Topic, run: MakeRun) -> Run:
    for number, user in enumerate(("keeper", "leaver", "leaver")):
        topic.event(event_id=an_id(number + 1), user_id=user)
    first = run("run1")
    first.land(topic)
    return first.build()


def test_a_forgotten_player_is_in_no_table_and_in_no_file_and_the_days_balance(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun, tmp_path: Path
) -> None:
    for number, user in enumerate(("keeper", "leaver", "leaver")):
        topic.event(event_id=an_id(number + 1), user_id=user, host=f"{user}.att.com")
    topic.event(event_id=an_id(4), user_id="leaver", host="leaver.att.com", occurred_at="2026-05-04T10:00:00Z")
    topic.event(event_id=an_id(5), user_id="keeper", host="keeper.att.com", occurred_at="2026-05-04T10:00:00Z")
    topic.send(b'{"user_id": "leaver", "event_type": "dance"}')
    topic.event(event_id=an_id(7), user_id="leaver", host="leaver.att.com")
    first = run("run1")
    first.land(topic)
    generated = manifest(tmp_path, [an_id(n) for n in (1, 2, 3)])  # without the last event: that is live traffic
    first.build().publish(generated)
    run("run2", NEXT_DAY).build().publish()
    stood = position(lake, load(lake, RAW_EVENTS))

    done = forget(spark, lake, "leaver", "forget1", "asked by letter")

    assert done == {"records": 5, "days": ["2026-05-03", "2026-05-04"]}
    for table in (RAW_EVENTS, EVENTS, REJECTED_EVENTS, *answers()):
        assert "leaver" not in str(rows(spark, table)), table
    data = Path(lake.warehouse.removeprefix("file://"))
    still = [
        file
        for file in data.rglob("*.parquet")
        if "leaver" in str(spark.read.parquet(str(file)).collect()) or b"leaver" in file.read_bytes()
    ]
    assert still == []
    assert position(lake, load(lake, RAW_EVENTS)) == stood
    assert [(int(one["revision"]), int(one["events"])) for one in (newest_row(lake), newest_row(lake, NEXT_DAY))] == [
        (2, 1),
        (2, 1),
    ]
    [record] = rows(spark, "erasures")
    assert (record["user_digest"], record["records"], record["note"]) == (user_digest("leaver"), 5, "asked by letter")

    again = run("run3").build(force=True).publish(generated)  # the generator's ids without the erased ones
    assert [one["revision"] for one in again.published] == [3]
    topic.event(event_id=an_id(6))
    more = run("run4")
    more.land(topic)
    assert [one["day"] for one in more.build().publish().published] == ["2026-05-03"]
    assert forget(spark, lake, "leaver", "forget2", "") == {"records": 0, "days": []}


ODD_NAMES = ("leaver", "J\u00fcrgen \U0001f5e1", 'a"b\\c/d', ".*+?[x](y)|$^{2}\\E", "no label")
KEEPER = json.dumps({**EXAMPLES["purchase_item"], "event_id": an_id(1), "user_id": "keeper", "host": "k.att.com"})


def _naming(player: str) -> list[str]:
    """Values that are erased with a player; nearly all are invalid JSON."""
    named, plainly = json.dumps(player), json.dumps(player, ensure_ascii=False)
    escaped = '"' + "".join(f"\\u{unit:04X}" for unit in _units(player)) + '"'
    unquoted = ["{'user_id': 'leaver'}", "{user_id: leaver}", '{"host": "leaver.att.com"}', '{"host": "leaver"}']
    return [
        KEEPER[:-1] + f', "user_id": {named}}}',
        f'{{"user_id": {plainly}, "user_id": "keeper"}}',
        f'{KEEPER}{{"user_id":{named}}}',
        f'{KEEPER}\n{{ "user_id" : {plainly} }}',
        f'{KEEPER}{{"user\\u005fid": {escaped}}}',
        f'{{"user_id": {escaped}}} x',
        f'{{"user_id": {named}',
        f'{{"event_type": "dance", "user_id": {escaped}}}',
        *(unquoted if player == "leaver" else []),
    ]


def _not_naming(player: str) -> list[str]:
    """Values that remain when a player is erased."""
    named = json.dumps(player)
    return [
        KEEPER,
        KEEPER[:-1] + f', "friend": {{"user_id": {named}}}}}',  # the event is the keeper's own, and valid JSON
        f'{{"user_id": "keeper", "item": {named}',
        f'{{"user_id": {json.dumps(player + "2")}',
        f'{{"user_id": {json.dumps("2" + player)}',
        f'{{"other_user_id": {named}',
        f'{{"user_id": "keeper", "host": {json.dumps(player + ".att.com")}}}',
        '{"user_id": "keeper"}{"user_id": null}',
    ]


def test_an_erasure_covers_invalid_json_and_no_other_player(
    spark: SparkSession, lake: Settings, topic: Topic, run: MakeRun
) -> None:
    for player in ODD_NAMES:
        for value in (*_naming(player), *_not_naming(player)):
            topic.send(value.encode())
    first = run("first")
    first.land(topic)
    first.build(dates=[DAY, None]).publish()
    for player in ODD_NAMES:
        found = sorted(bytes(row.value).decode() for row in _records(spark, RAW_EVENTS, player).collect())
        assert found == sorted(_naming(player))

    player = ODD_NAMES[1]
    assert forget(spark, lake, player, "forget", "")["records"] == len(_naming(player))
    left = [bytes(row["value"]).decode() for row in rows(spark, RAW_EVENTS)]
    assert sorted(left) == sorted(row[1].decode() for row in topic.rows if row[1].decode() not in _naming(player))


def _units(text: str) -> list[int]:
    coded = text.encode("utf-16-be")
    return [int.from_bytes(coded[at : at + 2]) for at in range(0, len(coded), 2)]


def test_an_erasure_without_rows_writes_nothing(spark: SparkSession, lake: Settings, begin: Begin) -> None:
    begin(one_event)
    before = {table: snapshots(lake, table) for table in (*TABLES, *answers())}
    assert forget(spark, lake, "nobody", "forget", "") == {"records": 0, "days": []}
    assert {table: snapshots(lake, table) for table in (*TABLES, *answers())} == before


def snapshots(settings: Settings, table: str) -> list[int]:
    found = load(settings, table)
    return [one.snapshot_id for one in found.metadata.snapshots] if found else []


def test_an_erasure_that_leaves_rows_ends_with_an_error(
    spark: SparkSession, lake: Settings, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(two_players).publish()
    monkeypatch.setattr("daybook_spark.erasing._remove_raw", lambda *_: None)
    with pytest.raises(DaybookError, match="rows of the user remain: 2 of raw_events, 2 of events, 1 of"):
        forget(spark, lake, "leaver", "forget", "")


@pytest.mark.parametrize("step", ["_remove_raw", "keep_position", "publish_days", "_expire_all_but_current"])
def test_an_erasure_that_was_killed_is_finished_by_the_next_and_recorded_once(
    spark: SparkSession, lake: Settings, run: MakeRun, tmp_path: Path, monkeypatch: Any, step: str, begin: Begin
) -> None:
    generated = manifest(tmp_path, [an_id(n) for n in (1, 2, 3)])
    begin(two_players).publish(generated)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"daybook_spark.erasing.{step}", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(spark, lake, "leaver", "killed", "asked by letter")
    forget(spark, lake, "leaver", "again", "asked by letter")

    assert sum(record["records"] for record in rows(spark, "erasures")) == 2
    assert "leaver" not in str([rows(spark, table) for table in (RAW_EVENTS, EVENTS, *answers())])
    assert (int(newest_row(lake)["landed"]), int(newest_row(lake)["events"])) == (1, 1)
    assert run("run2").build(force=True).publish(generated).published
