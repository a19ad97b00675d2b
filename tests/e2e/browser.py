"""The browser of the end-to-end tests: an installed one, or the one that ``make browser`` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
# the tests stay on this machine: without these a browser contacts its vendor's servers all the time
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


def installed() -> Path | None:
    """Return the program of an installed browser: the system's own, or Playwright's."""
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.exists() else None


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a headless browser with an empty profile; it ends with its block."""
    program = installed()
    assert program is not None, "no browser; `make browser` installs one"
    # root cannot use Chromium's own sandbox, especially in containers
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=[*QUIET, *as_root])
        yield running
        running.close()


def main() -> None:
    """Install a browser if it is missing: Debian's if permitted, else Playwright's in the user's own cache."""
    if installed():
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands = [
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
        ]
    else:
        commands = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not installed():
        sys.exit(
            f"browser: {' '.join(commands[-1])} failed ({(done.stdout.strip().splitlines() or ['no output'])[-1]}); "
            "install Chromium, Chrome or Edge, then repeat"
        )


if __name__ == "__main__":
    main()
