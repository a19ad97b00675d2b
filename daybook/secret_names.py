"""Which names of settings stand for secrets, and which texts carry one: what must stay off every command line."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_ENDS: Final = (
    *("password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "authorization", "jaas"),
    *("accesskey", "accountkey", "apikey", "privatekey", "secretkey", "sharedkey"),
)
"""A word that ends so is a secret: ``oauthtoken`` too."""
_SECRET_WORDS: Final = frozenset({"sas", "storepass", "keypass"})
_SECRET_LAST_WORDS: Final = frozenset({"pass", "pwd", "sig", "signature"})
_SECRET_PAIRS: Final = frozenset(
    {(kind, "key") for kind in ("access", "account", "api", "encryption", "private", "secret", "shared", "signing")}
    | {("connection", "string"), ("key", "list"), ("user", "info")}
)
_ABOUT_A_SECRET: Final = frozenset(
    {
        # where it is, what gives it or checks it
        *("file", "path", "dir", "directory", "location", "provider", "class", "impl", "ref", "name", "type", "format"),
        *("mechanism", "algorithm", "uri", "url", "endpoint", "id", "regex"),
        # how it is handled
        *("enabled", "disabled", "required", "length", "size", "bits", "count", "version", "interval", "period"),
        *("timeout", "renewal", "expiry", "ratio", "ms", "seconds", "minutes", "hours"),
    }
)
"""Last words of names that say something about a secret and hold none: ``secret.file``, ``credentials.provider``."""
_NAMES_OF_SECRETS: Final = re.compile(
    r"secretKeyRef|\.secrets\.|renewal\.credentials|\.token-(refresh|exchange|expires)-", re.IGNORECASE
)
"""Settings of Kubernetes, Kerberos and Iceberg whose values name a secret or where it is, or say how it is renewed."""

_URI_LOGIN: Final = re.compile(r"//[^/@\s]*:[^/@\s]+@")
_ASSIGNMENT: Final = re.compile(r"(?:[?&;\s\"']|^)(?:-D)?([\w.-]+)=(?=[^\s&;])")


def names_a_secret(name: str) -> bool:
    """Whether the value of a setting with this name is a secret, as far as its name says.

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
    """Whether a text has a login with a password in a URI, or gives a value to a name that stands for a secret.

    >>> holds_a_secret("jdbc:postgresql://db/lake?user=lake&password=x"), holds_a_secret("-Dmy.token=x -Xmx1g")
    (True, True)
    >>> holds_a_secret("jdbc:postgresql://db/lake?user=lake"), holds_a_secret("-XX:+UseG1GC -Duser.language=en")
    (False, False)
    """
    return bool(_URI_LOGIN.search(text)) or any(map(names_a_secret, _ASSIGNMENT.findall(text)))
