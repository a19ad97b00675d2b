"""Decides in Spark which values are one JSON document, by the rules of :mod:`daybook.documents`.

Spark's own JSON reader is more lenient. It stops after the first object and accepts single quotes. If a name occurs
twice, ``from_json`` uses the last value and ``get_json_object`` the first. A value in exactly the form that the intake
writes is recognised by a pattern. Any other value is parsed as a VARIANT, which is exact but costs more.

CPU time per million values of 280 bytes, without the scan, now and with the weaker checks of 80496cc. Values as the
intake writes them: 7.5 and 4.9 s to land, 8.7 and 7.2 s to read. Other values: 16 and 4.6 s to land, 30 and 7.4 s to
read. (Scaled from 400,000 values, one run each on a busy machine.)
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from daybook.contract import FILLED, LANDED_MOMENT, NULLABLE_FIELDS, RECORD_FIELDS
from daybook.documents import MAX_DEPTH

_TEXT = r'"[^"\\\x00-\x1f]*+"'
_KINDS = {
    "string": f"(?:null|{_TEXT})",
    "timestamp": r'"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"',
    "int": "(?:0|[1-9][0-9]{0,8})",
}
_NULLABLE_KINDS = {kind: f"(?:null|{pattern})" for kind, pattern in _KINDS.items()}
_FIRST, *_OTHERS = (
    f'"{name}":' + (_NULLABLE_KINDS if name in NULLABLE_FIELDS else _KINDS)[kind] for name, kind in RECORD_FIELDS
)
# The order is fixed, so each name occurs at most once. No other name matches: the exact reader handles values with a
# field that this version does not know.
_PLAIN = (
    rf"\A\{{{_FIRST}"
    + "".join(f"(?:,{field})?+" for field in _OTHERS)
    + rf'(?:,"{FILLED}":\[{_TEXT}(?:,{_TEXT})*+\])?+\}}\z'
)

_JAVA_MAX_DEPTH = 1000
"""Jackson's nesting limit. A value deeper than :data:`MAX_DEPTH` is wrapped in brackets until it exceeds this limit."""


def text_of(value: Column) -> Column:
    """Return a record's value as text; its bytes may be invalid UTF-8."""
    return value.cast("string")


def is_plain(value: Column) -> Column:
    """Whether a value has exactly the form in which the intake writes records. Never null."""
    text = text_of(value)
    return F.coalesce(text.rlike(_PLAIN) & F.is_valid_utf8(text), F.lit(False))


def document(value: Column) -> Column:
    """Parse a value as a VARIANT; null if it is not exactly one JSON object."""
    text = text_of(value)
    # trailing text can close one of the two kinds of bracket around it, but never both
    in_array = F.try_parse_json(F.concat(F.lit("["), text, F.lit("]")))
    in_object = F.try_parse_json(F.concat(F.lit('{"":'), text, F.lit("}")))
    is_one = (
        F.is_valid_utf8(text)
        & text.rlike(r"\A[ \t\n\r]*+\{")
        & in_object.isNotNull()
        & ~_is_deep(text)
        & ~_has_half_a_pair(text)
    )
    return F.when(is_one, F.try_variant_get(in_array, "$[0]", "variant"))  # also null if the array did not parse


def kind_of(document: Column, name: str) -> Column:
    """Return the type of a document's field, such as STRING, BIGINT or VOID; null if the field is missing."""
    return F.schema_of_variant(F.try_variant_get(document, f"$.{name}", "variant"))


def text_field(document: Column, name: str) -> Column:
    """Return a document's field if it is text, else null."""
    return F.when(kind_of(document, name) == "STRING", F.try_variant_get(document, f"$.{name}", "string"))


def moment_of(text: Column) -> Column:
    """Parse a text as a time by the rules of :data:`daybook.contract.LANDED_MOMENT`; null if it is not one."""
    return F.when(text.rlike(rf"\A{LANDED_MOMENT}\z"), text.try_cast("timestamp"))


def _is_deep(text: Column) -> Column:
    more = _JAVA_MAX_DEPTH - MAX_DEPTH
    wrapped = F.concat(F.lit("[" * more), text, F.lit("]" * more))
    # brackets inside texts count too, but few values have so many that they must be parsed again
    many_brackets = text.rlike(rf"\A(?:[^\[{{]*+[\[{{]){{{MAX_DEPTH + 1}}}")
    return F.when(many_brackets, F.try_parse_json(wrapped).isNull()).otherwise(F.lit(False))


def _has_half_a_pair(text: Column) -> Column:
    """Whether a text of the document has an escaped half of a surrogate pair without the other half."""
    escapes = F.regexp_replace(text, r"\\\\", "")
    halves = F.regexp_replace(escapes, r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}", "").rlike(r"(?i)\\ud[89a-f]")
    return F.when(F.contains(text, F.lit(r"\u")), halves).otherwise(F.lit(False))
