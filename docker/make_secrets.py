"""Makes the secrets of the Compose stack, one file each, if they are not there: ``python3 docker/make_secrets.py DIR``.

Runs on the standard library alone, since a laptop with Docker needs no Daybook installed. The folder is for its owner
alone; the files in it can be read by all, because the containers' users are others than the host's. What Airflow signs
and encrypts with is made in the stack's own volume.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

CALLERS = ("generator", "prometheus")
"""Who has an API key of the intake beside the games: the generator to send events, Prometheus to read metrics."""


def make(folder: Path) -> None:
    """Make every secret that is missing; a file that is there is left alone.

    ``CALLER_key`` is the API key of one of :data:`CALLERS`; ``intake/api_keys`` holds their digests: add the games'
    lines. It is in a folder of its own, which the intake mounts: a file that is mounted alone stays the old one when an
    editor replaces it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    api_keys = folder / "intake" / "api_keys"
    api_keys.parent.mkdir(exist_ok=True)
    api_keys.parent.chmod(0o755)  # of those who may enter the folder above, and the intake's user
    if (former := folder / "api_keys").exists() and not api_keys.exists():
        former.rename(api_keys)
    for name in ("postgres_password", "grafana_password"):
        _make(folder / name, lambda: secrets.token_urlsafe(24))
    # the form of PostgreSQL's own password file; a role is called as its database
    databases = ("airflow", "lake")
    _make(
        folder / "pgpass",
        lambda: "\n".join(f"postgres:5432:{one}:{one}:{secrets.token_urlsafe(24)}" for one in databases),
    )
    keys = {one: _make(folder / f"{one}_key", lambda: secrets.token_urlsafe(32)).strip() for one in CALLERS}
    lines = [f"{one} {hashlib.sha256(key.encode()).hexdigest()}" for one, key in keys.items()]
    known = _make(api_keys, lambda: "\n".join(lines), mode=0o644)
    if new := [line for line in lines if line not in known.splitlines()]:  # of a key that was made since
        api_keys.write_text("\n".join([known.rstrip(), *new, ""]), encoding="utf-8")


def _make(file: Path, value: Callable[[], str], mode: int = 0o444) -> str:
    """Write a secret if it is not there; what the file holds."""
    if not file.exists():
        file.write_text(value() + "\n", encoding="utf-8")
    file.chmod(mode)
    return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
