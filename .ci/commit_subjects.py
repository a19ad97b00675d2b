"""Checks the subjects of commits since the rule began: imperative, at most 72 characters (CONTRIBUTING.md)."""

from __future__ import annotations

import re
import subprocess
import sys

SINCE = "74614acbc926c2af3da24797837d920f24513106"
LONGEST = 72
_NO_VERB_FORM = re.compile(r"(?:ed|ing)$")
_IMPERATIVE = {"Bring", "Embed", "Exceed", "Feed", "Need", "Proceed", "Shed", "Speed", "Spring", "Succeed", "String"}


def problem(subject: str) -> str | None:
    """What is wrong with a subject, or None.

    >>> problem("Land on the warm Spark server") is None
    True
    >>> problem("Landed on it."), problem("land on it")
    ('ends with a period', 'does not begin with a capital letter')
    >>> problem("Landing on it")
    "is not imperative: begins with 'Landing'"
    """
    first = subject.partition(" ")[0]
    if len(subject) > LONGEST:
        return f"has {len(subject)} characters, at most {LONGEST} are allowed"
    if subject.endswith("."):
        return "ends with a period"
    if not first[:1].isupper():
        return "does not begin with a capital letter"
    if _NO_VERB_FORM.search(first) and first not in _IMPERATIVE:
        return f"is not imperative: begins with {first!r}"
    return None


def main() -> int:
    """Check this clone's commits; a copy without that history has nothing to check."""
    git = ["git", "log", "--no-merges", "--format=%h %s", f"{SINCE}..HEAD"]
    log = subprocess.run(git, capture_output=True, text=True, check=False)
    found = [line.split(" ", 1) for line in log.stdout.splitlines()] if log.returncode == 0 else []
    wrong = [f"{commit}: the subject {said}: {subject}" for commit, subject in found if (said := problem(subject))]
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
