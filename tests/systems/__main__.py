"""Run ``make demo`` and ``make down`` on other Debian releases, each in a chroot: ``make test-systems``.

debootstrap makes the systems. They have what the README asks for (Python, make) and git, but no Java. An ordinary user
clones the committed state and follows the README. The test then asks that the day is verified and that no process of
the user is left. It needs root and debootstrap. The chroots share this machine's network, so they take free ports.

Mounts are made in a mount namespace of their own, which ends with the process: nothing has to be unmounted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from daybook.settings import REPOSITORY
from tests.integration.own_broker import free_ports

SUITES = ("trixie", "testing")
"""Debian 13 with Python 3.13, and Debian testing with a newer Python."""
PACKAGES = "ca-certificates,git,make,procps,python3,python3-venv"
"""What the README asks for, git, and procps for the test itself."""
USER = 1000
CHECKOUT = "/home/player/daybook"
PORTS = ("API", "AIRFLOW", "KAFKA", "KAFKA_CONTROLLER", "SPARK_CONNECT")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MOST_SECONDS = 1800


def mirror() -> str:
    """Return the address of the mirror that this machine's apt uses for Debian's packages."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Label: Debian"],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()[0]


def inside(root: Path, script: str, environment: dict[str, str], user: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a shell script in the chroot, with its own /proc and this machine's devices."""
    mounts = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev"'
    enter = f'exec chroot --userspec={user}:{user} "$1" /bin/sh -ec "$2"'
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return subprocess.run(
        [*apart, "sh", "-ec", f"{mounts}; {enter}", "sh", str(root), script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )


def environment() -> dict[str, str]:
    """Return the user's environment: no more than a login's, free ports, and how this machine reaches registries."""
    reach = re.compile(r"(PIP_|UV_)(?!FIND_LINKS)|.*(_CA_BUNDLE|SSL_CERT_FILE|PIP_CERT|_PROXY)$", re.IGNORECASE)
    ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
    return {
        **{name: value for name, value in os.environ.items() if reach.match(name)},
        **{f"DAYBOOK_{name}_PORT": str(port) for name, port in ports},
        "HOME": "/home/player",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8",
    }


def try_on(suite: str, folder: Path) -> list[str]:
    """Follow the README on a fresh system; return system, Python, seconds of set-up and demo, and the ledger's line.

    Raises:
        SystemExit: a command failed; its output is printed.
    """
    root, chosen = folder / suite, environment()

    def run(script: str, *, user: int = 0) -> str:
        done = inside(root, script, chosen, user)
        if done.returncode != 0:
            raise SystemExit(f"{suite}: {script}\n{done.stdout}\nfailed with status {done.returncode}")
        return done.stdout

    click.echo(f"{suite}: debootstrap")
    made = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root), mirror()]
    subprocess.run(made, stdout=subprocess.DEVNULL, check=True)
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    run(f"useradd --uid {USER} --create-home player")
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), f"{root}{CHECKOUT}"], check=True)
    run(f"chown -R {USER}:{USER} {CHECKOUT}")

    python = run("python3 --version").split()[1]
    seconds = []
    for command in ("make setup", "make demo"):
        click.echo(f"{suite}, Python {python}: {command}")
        began = time.monotonic()
        # the stack ends with its mount and process namespace: the demo, its check and the end are one script
        follow = f" && .venv/bin/daybook verify --day {yesterday()} && make down" if command == "make demo" else ""
        printed = run(f"cd {CHECKOUT} && {command}{follow} && ! pgrep -u {USER} java", user=USER)
        seconds.append(f"{time.monotonic() - began:.0f}")
    [balances] = re.findall(r"^Ledger of .*: it balances$", printed, re.MULTILINE)
    [landed] = re.findall(r"^ *landed +(.*)$", printed, re.MULTILINE)
    click.echo(f"{suite}: {balances}")
    return [suite, python, *seconds, landed]


def yesterday() -> str:
    """Return the day that the demo builds."""
    return str(datetime.now(UTC).date() - timedelta(days=1))


if __name__ == "__main__":
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise SystemExit("this needs root and debootstrap: as root, `apt-get install debootstrap`, then repeat")
    with tempfile.TemporaryDirectory(prefix="daybook-systems-") as made:
        rows = [try_on(suite, Path(made)) for suite in sys.argv[1:] or SUITES]
    for row in (["system", "Python", "set-up s", "demo s", "landed"], *rows):
        click.echo("  ".join(f"{cell:<8}" for cell in row))
