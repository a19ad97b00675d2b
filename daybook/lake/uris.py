"""Where a warehouse or one of its files is: a folder of this machine, or a bucket."""

from __future__ import annotations

from pathlib import Path

_FILE_SCHEME = "file:"


def path_of(uri: str) -> Path:
    """Return the local path of a ``file:`` URI, or of a plain path.

    Java writes one slash where others write three, and neither escapes what it writes into Iceberg's metadata.

    >>> path_of("file:///data/lake"), path_of("file:/data/lake"), path_of("/data/lake")
    (PosixPath('/data/lake'), PosixPath('/data/lake'), PosixPath('/data/lake'))
    """
    return Path("/" + uri.removeprefix(_FILE_SCHEME).lstrip("/"))


def is_local(uri: str) -> bool:
    """Return whether a warehouse is a folder of this machine.

    >>> is_local("file:///data/lake"), is_local("s3a://bucket/lake")
    (True, False)
    """
    return uri.startswith((_FILE_SCHEME, "/"))
