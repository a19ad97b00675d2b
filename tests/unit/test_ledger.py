"""The ledger's lines: each is in the docs, and each fails if one of its sides is changed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from daybook.pipeline.balance import AnswerSum, DayCounts, LandedRange, Play, balance, unbalanced_text
from daybook.settings import REPOSITORY

DAY = date(2026, 5, 3)
PLAY = Play(sent=12, accepted=11, refused=1, repeated=1, accepted_ids=10, accepted_ids_landed=9, erased_ids=1)
COUNTS = DayCounts(
    day=DAY,
    landed=12,
    events=9,
    duplicates=2,
    rejected=1,
    late=0,
    answer_sums={"popularity": AnswerSum(9, 9), "purchases": AnswerSum(7, 7, "event_type = 'purchase_item'")},
    play=PLAY,
)
LANDED = LandedRange(partition=0, start=100, end=113, records=12, gaps=1, landing=3)


def test_a_day_whose_counts_agree_balances() -> None:
    assert unbalanced_text(DAY, balance(COUNTS, [LANDED])) == ""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"play": {"sent": 13}}, "sent by the generator"),
        ({"play": {"refused": 0}}, "sent by the generator"),
        ({"play": {"accepted_ids": 9}}, "acknowledged ids of the generator"),
        ({"play": {"repeated": 0}}, "acknowledged ids of the generator"),
        ({"play": {"accepted_ids_landed": 8}}, "acknowledged ids found in raw_events"),
        ({"play": {"erased_ids": 0}}, "acknowledged ids found in raw_events"),
        ({"landed": {"end": 114}}, "Kafka offsets"),
        ({"landed": {"records": 11}}, "Kafka offsets"),
        ({"landed": {"gaps": 0}}, "Kafka offsets"),
        ({"counts": {"landed": 13}}, "raw records of the day"),
        ({"counts": {"events": 8}}, "raw records of the day"),
        ({"counts": {"duplicates": 1}}, "raw records of the day"),
        ({"counts": {"rejected": 0}}, "raw records of the day"),
        ({"counts": {"answer_sums": {"popularity": AnswerSum(9, 8)}}}, "events of the day = sum over popularity"),
        (
            {"counts": {"answer_sums": {"purchases": AnswerSum(6, 7, "x")}}},
            "events of the day where x = sum over purch",
        ),
    ],
)
def test_a_line_fails_if_one_of_its_sides_is_another(changes: dict[str, dict[str, Any]], line: str) -> None:
    counts = replace(COUNTS, play=replace(PLAY, **changes.get("play", {})), **changes.get("counts", {}))
    landed = replace(LANDED, **changes.get("landed", {}))
    assert f": {line}" in unbalanced_text(DAY, balance(counts, [landed])).replace("; ", ": ")


def test_the_docs_describe_what_each_line_compares() -> None:
    text = (REPOSITORY / "docs" / "ledger.md").read_text(encoding="utf-8")
    rows = [row.split(" | ")[0].removeprefix("| ") for row in text.splitlines() if row.startswith("| ")]
    lines = {
        re.sub(
            r" where .* =", " =", re.sub(r"offsets \d+ to \d+ of partition \d+", "offsets A to B of partition P", one)
        )
        for one in (line.line for line in balance(COUNTS, [LANDED]))
    }
    lines = {re.sub(r"sum over \w+", "sum over ANSWER", one).replace(" + erased", " (+ erased)") for one in lines}
    assert lines <= set(rows)
