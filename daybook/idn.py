"""Converts internationalised host names to ASCII: one rule for the hosts of events and the providers' domains.

The rule is UTS 46 (non-transitional) with the labels of IDNA 2008, as browsers and registries apply it: ``faß.de`` is
``xn--fa-hia.de``, a different domain from ``fass.de``. Python's own ``idna`` codec implements IDNA 2003, which does not
distinguish the two, and its cost grows with the square of the length.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import idna

MAX_NAME_CHARACTERS: Final = 253
"""Longest host name in ASCII (RFC 1035)."""
MAX_LABEL_CHARACTERS: Final = 63
"""Longest label of a host name, including ``xn--``. Punycode needs at least one character per encoded one."""


# hosts repeat across requests: a player plays all day from one host
@lru_cache(maxsize=4096)
def ascii_name(name: str) -> str:
    """Return a host name in lower case, with non-ASCII labels as ``xn--``; does not check that it is a valid host.

    Names and labels that are too long raise an error before they are encoded.

    Raises:
        ValueError: the name cannot be written in ASCII, or is too long.

    >>> ascii_name("User1.faß.de")
    'user1.xn--fa-hia.de'
    """
    if name.isascii():
        return _bounded(name.lower())
    try:
        # one code point can map to 18 others, so check the length again after the mapping
        mapped = _bounded(idna.uts46_remap(_bounded(name), std3_rules=False))
        labels: list[str] = []
        for label in mapped.split("."):
            labels.append(_ascii_label(label))
            _bounded(".".join(labels))  # encoding is expensive: no more labels than a name can hold
    except UnicodeError:  # base class of idna's own errors
        raise ValueError("is not a host name") from None
    return ".".join(labels)


def _bounded(name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS:
        raise ValueError(f"is longer than {MAX_NAME_CHARACTERS} characters")
    return name


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > MAX_LABEL_CHARACTERS - len("xn--"):
        raise ValueError(f"has a label of more than {MAX_LABEL_CHARACTERS} characters")
    return idna.alabel(label).decode("ascii")
