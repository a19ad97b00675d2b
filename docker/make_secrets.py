"""Makes the secrets of the Compose stack, one file each, if they are not there: ``python3 docker/make_secrets.py DIR``.

Uses only the standard library, since a laptop with Docker needs no Daybook installed. Only the owner can enter the
folder. Everybody can read the files in it, because the containers' users are not the host's. The keys with which
Airflow signs and encrypts are created in the stack's own volume.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

CALLERS = ("generator", "prometheus")
"""Clients besides the games that have an API key of the intake: the generator to send events, Prometheus to read
metrics."""


def make(folder: Path) -> None:
    """Create every missing secret; existing files are not changed.

    ``CALLER_key`` is the API key of one of :data:`CALLERS`; ``intake/api_keys`` holds their digests: add the games'
    lines. The intake mounts its folder, not the file: a single mounted file remains the old one when an editor replaces
    it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    api_keys = folder / "intake" / "api_keys"
    api_keys.parent.mkdir(exist_ok=True)
    api_keys.parent.chmod(0o755)  # for users who may enter the folder above, and the intake's user
    if (previous := folder / "api_keys").exists() and not api_keys.exists():
        previous.rename(api_keys)
    for name in ("postgres_password", "grafana_password"):
        _make(folder / name, lambda: secrets.token_urlsafe(24))
    # the format of PostgreSQL's password file; a role has the name of its database
    databases = ("airflow", "lake")
    _make(
        folder / "pgpass",
        lambda: "\n".join(f"postgres:5432:{one}:{one}:{secrets.token_urlsafe(24)}" for one in databases),
    )
    keys = {one: _make(folder / f"{one}_key", lambda: secrets.token_urlsafe(32)).strip() for one in CALLERS}
    lines = [f"{one} {hashlib.sha256(key.encode()).hexdigest()}" for one, key in keys.items()]
    known = _make(api_keys, lambda: "\n".join(lines), mode=0o644)
    if new := [line for line in lines if line not in known.splitlines()]:  # lines of keys that were created later
        api_keys.write_text("\n".join([known.rstrip(), *new, ""]), encoding="utf-8")


def _make(file: Path, value: Callable[[], str], mode: int = 0o444) -> str:
    """Write a secret if it is missing; return the content of the file."""
    if not file.exists():
        file.write_text(value() + "\n", encoding="utf-8")
    file.chmod(mode)
    return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
