"""Python's readers and the odd documents; ``tests/spark`` compares Spark with the same table."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daybook.contract import event_date
from daybook.documents import document
from game_api.validation import BadBody, Refused, check_event, parse_body
from tests.odd_documents import ODD_DOCUMENTS, TAKEN_AT, TOLERANCE_MINUTES, Odd

NO_DOCUMENT = {"not_json", "not_utf8", "null_value"}


def named(odd: Odd) -> str:
    return odd.name


@pytest.mark.parametrize("odd", ODD_DOCUMENTS, ids=named)
def test_readers_without_spark_name_the_day_that_a_landing_names(odd: Odd) -> None:
    assert event_date(odd.value, TAKEN_AT, TOLERANCE_MINUTES) == odd.day


@pytest.mark.parametrize("odd", ODD_DOCUMENTS, ids=named)
def test_all_readers_agree_whether_a_value_is_one_document(odd: Odd) -> None:
    assert (document(odd.value) is None) == (odd.reason in NO_DOCUMENT)


@pytest.mark.parametrize("odd", [odd for odd in ODD_DOCUMENTS if odd.value is not None], ids=named)
def test_the_intake_takes_what_it_should(odd: Odd) -> None:
    try:
        [value] = parse_body(odd.value or b"")
        check_event(value, items=["sword"], latest=TAKEN_AT + timedelta(minutes=TOLERANCE_MINUTES))
        is_taken = True
    except (BadBody, Refused):
        is_taken = False
    assert is_taken == odd.is_taken
