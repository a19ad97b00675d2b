"""The contract's files agree with the models."""

from __future__ import annotations

import pytest

from game_api.contracts import CONTRACTS_DIR, contract_files, text_of


@pytest.mark.parametrize("name", contract_files())
def test_no_contract_is_stale(name: str) -> None:
    file = CONTRACTS_DIR / name
    assert file.exists(), f"{name} is missing; write it with `daybook contracts`"
    stale = f"{name} is stale; write it anew with `daybook contracts` and commit it"
    assert file.read_text(encoding="utf-8") == text_of(contract_files()[name]), stale


def test_they_do_not_depend_on_this_shells_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract_files()
    monkeypatch.setenv("DAYBOOK_ITEMS", '["spoon"]')
    monkeypatch.setenv("DAYBOOK_LEGACY_ROUTES", "false")
    assert contract_files() == before
