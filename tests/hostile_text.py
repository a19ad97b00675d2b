"""What players call themselves who mean no good: valid names of the contract, each harmful where it is not text."""

from __future__ import annotations

import unicodedata

HOSTILE_NAMES: tuple[str, ...] = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "'; DROP TABLE events; --",
    "$(touch /tmp/owned) `id` | sh",
    "[red]markup[/red]",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "sword;=1+1",
    # reads backwards from here on
    "\u202egnp.exe",
    # isolates, which turn what follows around
    "\u2067abc\u2066",
    # a line of its own, to some readers
    "two\u2028lines",
    # cannot be seen at all
    "sw\u200bord\u00ad",
    # tags: text that nobody sees and machines read
    "flag\U000e0041\U000e007f",
)
HOSTILE_USER_AGENT = "Mozilla/5.0 <script>alert(1)</script> =1+1"


def commands_a_terminal(text: str) -> set[str]:
    r"""Characters in it, besides the end of a line, that do something to a terminal or its reader instead of showing.

    >>> commands_a_terminal("abc\n"), commands_a_terminal("\x1b[2J")
    (set(), {'\x1b'})
    """
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and one != "\n"}
