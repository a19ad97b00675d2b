"""Which values are one JSON document, by the rules of :mod:`daybook.documents`, for Spark.

Spark's own reader is more lenient than that: it stops behind the first object, takes single quotes, and of a name that
is there twice ``from_json`` takes the last and ``get_json_object`` the first. A value just as an intake writes it shows
by its form alone that it is one document; any other is parsed as a VARIANT, which is exact, and costs more.

Processor time per million values of 280 bytes, now and with the weaker checks of 80496cc, the scan taken off: as an
intake writes them 7.5 and 4.9 s to land, 8.7 and 7.2 s to read; any others 16 and 4.6 s to land, 30 and 7.4 s to read.
(Scaled from 400,000 values, one run of each on a busy machine.)
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
# each name at most once, as they have an order; and no other, so that a field that this version does not know is looked
# at by the exact reader
_PLAIN = (
    rf"\A\{{{_FIRST}"
    + "".join(f"(?:,{field})?+" for field in _OTHERS)
    + rf'(?:,"{FILLED}":\[{_TEXT}(?:,{_TEXT})*+\])?+\}}\z'
)

_JAVA_MAX_DEPTH = 1000
"""Jackson's own limit of depth, which a value of more than :data:`MAX_DEPTH` is brought beyond by wrapping it."""


def text_of(value: Column) -> Column:
    """A record's value as text; its bytes may be no UTF-8."""
    return value.cast("string")


def is_plain(value: Column) -> Column:
    """Whether a value has the very form in which an intake writes records. Never null."""
    text = text_of(value)
    return F.coalesce(text.rlike(_PLAIN) & F.is_valid_utf8(text), F.lit(False))


def document(value: Column) -> Column:
    """The JSON object that a value is, as VARIANT; null if it is not exactly one."""
    text = text_of(value)
    # trailing text may close one of the two brackets around it, and never both
    in_array = F.try_parse_json(F.concat(F.lit("["), text, F.lit("]")))
    in_object = F.try_parse_json(F.concat(F.lit('{"":'), text, F.lit("}")))
    is_one = (
        F.is_valid_utf8(text)
        & text.rlike(r"\A[ \t\n\r]*+\{")
        & in_object.isNotNull()
        & ~_is_deep(text)
        & ~_has_half_a_pair(text)
    )
    return F.when(is_one, F.try_variant_get(in_array, "$[0]", "variant"))  # null too where there is no such array


def kind_of(document: Column, name: str) -> Column:
    """The kind of a document's field, such as STRING, BIGINT or VOID; null if it has no such field."""
    return F.schema_of_variant(F.try_variant_get(document, f"$.{name}", "variant"))


def text_field(document: Column, name: str) -> Column:
    """A document's field that is a text; null if it is not."""
    return F.when(kind_of(document, name) == "STRING", F.try_variant_get(document, f"$.{name}", "string"))


def moment_of(text: Column) -> Column:
    """The time that a text says, by the rules of :data:`daybook.contract.LANDED_MOMENT`; null if it says none."""
    return F.when(text.rlike(rf"\A{LANDED_MOMENT}\z"), text.try_cast("timestamp"))


def _is_deep(text: Column) -> Column:
    more = _JAVA_MAX_DEPTH - MAX_DEPTH
    wrapped = F.concat(F.lit("[" * more), text, F.lit("]" * more))
    # brackets in texts count too; few values have so many and are parsed again
    many_brackets = text.rlike(rf"\A(?:[^\[{{]*+[\[{{]){{{MAX_DEPTH + 1}}}")
    return F.when(many_brackets, F.try_parse_json(wrapped).isNull()).otherwise(F.lit(False))


def _has_half_a_pair(text: Column) -> Column:
    """Whether a text of the document holds one half of a surrogate pair, by an escape, without the other."""
    escapes = F.regexp_replace(text, r"\\\\", "")
    halves = F.regexp_replace(escapes, r"(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}", "").rlike(r"(?i)\\ud[89a-f]")
    return F.when(F.contains(text, F.lit(r"\u")), halves).otherwise(F.lit(False))
