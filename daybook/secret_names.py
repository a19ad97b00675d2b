"""Recognizes names of secret settings, and texts that contain a secret: these must not be on a command line."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_ENDS: Final = (
    *("password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "authorization", "jaas"),
    *("accesskey", "accountkey", "apikey", "privatekey", "secretkey", "sharedkey"),
)
"""A word with such an ending names a secret, such as ``oauthtoken``."""
_SECRET_WORDS: Final = frozenset({"sas", "storepass", "keypass"})
_SECRET_LAST_WORDS: Final = frozenset({"pass", "pwd", "sig", "signature"})
_SECRET_PAIRS: Final = frozenset(
    {(kind, "key") for kind in ("access", "account", "api", "encryption", "private", "secret", "shared", "signing")}
    | {("connection", "string"), ("key", "list"), ("user", "info")}
)
_ABOUT_A_SECRET: Final = frozenset(
    {
        # its place, its provider or its check
        *("file", "path", "dir", "directory", "location", "provider", "class", "impl", "ref", "name", "type", "format"),
        *("mechanism", "algorithm", "uri", "url", "endpoint", "id", "regex"),
        # its handling
        *("enabled", "disabled", "required", "length", "size", "bits", "count", "version", "interval", "period"),
        *("timeout", "renewal", "expiry", "ratio", "ms", "seconds", "minutes", "hours"),
    }
)
"""Last words of names that describe a secret but do not hold it: ``secret.file``, ``credentials.provider``."""
_NAMES_OF_SECRETS: Final = re.compile(
    r"secretKeyRef|\.secrets\.|renewal\.credentials|\.token-(refresh|exchange|expires)-", re.IGNORECASE
)
"""Settings of Kubernetes, Kerberos and Iceberg whose values are the name, place or renewal options of a secret."""

_URI_LOGIN: Final = re.compile(r"//[^/@\s]*:[^/@\s]+@")
_ASSIGNMENT: Final = re.compile(r"(?:[?&;\s\"']|^)(?:-D)?([\w.-]+)=(?=[^\s&;])")


def names_a_secret(name: str) -> bool:
    """Whether the value of a setting is a secret, judging by the setting's name.

    >>> names_a_secret("spark.executorEnv.AWS_SECRET_ACCESS_KEY"), names_a_secret("spark.ssl.keyStorePassword")
    (True, True)
    >>> names_a_secret("spark.kerberos.keytab"), names_a_secret("spark.authenticate.secret.file")
    (False, False)
    """
    if _NAMES_OF_SECRETS.search(name):
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT_A_SECRET:
        return False
    pairs = set(pairwise(words))
    return (
        words[-1] in _SECRET_LAST_WORDS
        or not _SECRET_WORDS.isdisjoint(words)
        or not _SECRET_PAIRS.isdisjoint(pairs)
        or any(word.endswith(_SECRET_ENDS) for word in words)
    )


def holds_a_secret(text: str) -> bool:
    """Whether a text has a URI with a password, or assigns a value to the name of a secret.

    >>> holds_a_secret("jdbc:postgresql://db/lake?user=lake&password=x"), holds_a_secret("-Dmy.token=x -Xmx1g")
    (True, True)
    >>> holds_a_secret("jdbc:postgresql://db/lake?user=lake"), holds_a_secret("-XX:+UseG1GC -Duser.language=en")
    (False, False)
    """
    return bool(_URI_LOGIN.search(text)) or any(map(names_a_secret, _ASSIGNMENT.findall(text)))
