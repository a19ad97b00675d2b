"""Player names from attackers: each is valid by the contract, and harmful if it is not treated as text."""

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
    # the text from here on is shown backwards
    "\u202egnp.exe",
    # isolates: they turn the surrounding text around
    "\u2067abc\u2066",
    # some readers start a new line here
    "two\u2028lines",
    # invisible characters
    "sw\u200bord\u00ad",
    # tags: people cannot see this text, but machines read it
    "flag\U000e0041\U000e007f",
)
HOSTILE_USER_AGENT = "Mozilla/5.0 <script>alert(1)</script> =1+1"


def commands_a_terminal(text: str) -> set[str]:
    r"""The control and format characters of a text, except line feeds. They can command a terminal or deceive people.

    >>> commands_a_terminal("abc\n"), commands_a_terminal("\x1b[2J")
    (set(), {'\x1b'})
    """
    return {one for one in text if unicodedata.category(one) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and one != "\n"}
