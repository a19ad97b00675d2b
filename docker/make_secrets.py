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


def make(folder: Path) -> None:
    """Make every secret that is missing; a file that is there is left alone.

    ``generator_key`` is the API key of the generator. ``api_keys`` holds its digest: add the games' lines to it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    _make(folder / "postgres_password", lambda: secrets.token_urlsafe(24))
    # the form of PostgreSQL's own password file; a role is called as its database
    databases = ("airflow", "lake")
    _make(
        folder / "pgpass",
        lambda: "\n".join(f"postgres:5432:{one}:{one}:{secrets.token_urlsafe(24)}" for one in databases),
    )
    key = _make(folder / "generator_key", lambda: secrets.token_urlsafe(32)).strip()
    line = f"generator {hashlib.sha256(key.encode()).hexdigest()}"
    known = _make(folder / "api_keys", lambda: line)
    if line not in known.splitlines():  # the generator's key was made anew
        file = folder / "api_keys"
        file.chmod(0o644)
        file.write_text(f"{known.rstrip()}\n{line}\n", encoding="utf-8")
        file.chmod(0o444)


def _make(file: Path, value: Callable[[], str]) -> str:
    """Write a secret if it is not there; what the file holds."""
    if not file.exists():
        file.write_text(value() + "\n", encoding="utf-8")
    file.chmod(0o444)
    return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
