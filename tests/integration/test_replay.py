"""A replay to a real intake and broker: each record counts once, wherever the replay is killed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daybook.lake.tables import REPLAYED_RECORDS
from daybook.operations.replay import open_records, repaired_by_hand, send_again
from daybook.pipeline.rejected import Rejected
from daybook.settings import Settings
from tests.integration.own_broker import OwnBroker, OwnIntake, record_ids
from tests.unit.small_lake import SmallLake

pytestmark = [pytest.mark.integration, pytest.mark.long]

UNREADABLE = Rejected(1, 0, 7, datetime(2026, 5, 4, tzinfo=UTC), "not_json", "what is wrong", b"{")


def test_accepted_events_that_were_not_recorded_are_sent_again_with_the_same_id(
    settings: Settings, broker: OwnBroker, intake: OwnIntake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallLake(settings).table(REPLAYED_RECORDS)
    by_hand = {"event_type": "purchase_item", "item": "sword", "user_id": "user53", "host": "user53.att.com"}
    file = tmp_path / "repaired.json"
    file.write_text(json.dumps([{**UNREADABLE.as_json(), "event": by_hand}]), encoding="utf-8")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("daybook.operations.replay._write_down", killed)
        with pytest.raises(KeyboardInterrupt):
            send_again(settings, repaired_by_hand(file, [UNREADABLE]))
    assert open_records(settings, [UNREADABLE]) == [UNREADABLE]

    _, refused = send_again(settings, repaired_by_hand(file, [UNREADABLE]))

    assert refused == []
    assert open_records(settings, [UNREADABLE]) == []
    ids = record_ids(settings)
    assert (len(ids), len(set(ids))) == (2, 1), "of one id one counts, and the other is its duplicate"
