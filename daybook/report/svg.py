"""Vega-Lite specifications as SVG, stripped of everything but shapes and text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from daybook.formatting import printable

if TYPE_CHECKING:
    from markupsafe import Markup


_SVG = "{http://www.w3.org/2000/svg}"


_TAGS = {"g", "path", "line", "rect", "text", "tspan"}


_ATTRIBUTES = {
    *("d", "x", "y", "x1", "y1", "x2", "y2", "dx", "dy", "width", "height", "transform"),
    *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap"),
    *("opacity", "text-anchor", "font-size", "font-weight"),
}


_INVISIBLE = re.compile(r"\b(?:background|foreground)\b")


def nothing() -> Markup:
    """Return the markup for "nothing to draw"."""
    from markupsafe import Markup

    return Markup("")


def draw(spec: dict[str, Any], around: tuple[int, int, int, int], alternative: str) -> Markup:
    """Return the chart as markup: Vega-Lite's output, stripped of everything but shapes and text.

    Args:
        spec: with ``width`` and ``height`` of the drawing itself.
        around: room left of it, above, right and below, for labels.
        alternative: the main finding, for those who do not see the picture.
    """
    from markupsafe import Markup, escape

    left, above, right, below = around
    width, height = spec["width"] + left + right, spec["height"] + above + below
    drawn = ElementTree.fromstring(
        _to_svg({**spec, "padding": {"left": left, "top": above, "right": right, "bottom": below}})
    )
    body = "".join(_markup(child) for child in drawn)
    label = escape(short(alternative, 600))
    return Markup(f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {height}">{body}</svg>')


def _to_svg(spec: dict[str, Any]) -> str:
    import vl_convert

    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "background": None,
        "autosize": "none",
        "config": {"aria": False, "view": {"stroke": None}, "axis": {"labelFont": "sans-serif"}},
        **spec,
    }
    # no address is allowed: nothing is ever fetched
    svg: str = vl_convert.vegalite_to_svg(whole, allowed_base_urls=[])
    return svg


def _markup(element: ElementTree.Element) -> str:
    from markupsafe import escape

    tag = element.tag.removeprefix(_SVG)
    if tag not in _TAGS or _INVISIBLE.search(element.get("class", "")) or element.get("display") == "none":
        return ""
    inner = "".join(_markup(child) for child in element)
    text = str(escape(element.text)) if element.text else ""
    if tag == "g" and not inner:
        return ""
    attributes = "".join(
        f' {name}="{escape(value.removesuffix("px") if name == "font-size" else value)}"'
        for name, value in element.attrib.items()
        if name in _ATTRIBUTES and not (name == "opacity" and value == "1")
    )
    if tag == "g" and not attributes.replace(' transform="translate(0,0)"', ""):
        return inner
    return f"<{tag}{attributes}>{text}{inner}</{tag}>"


def short(text: str, width: int) -> str:
    r"""Cut a label to the available width; invisible characters (controls, direction marks) become a dot.

    >>> short("a-very-long-provider-name.example", 12), short("tab\tand\u202e", 12)
    ('a-very-long…', 'tab·and·')
    """
    seen = printable(text)
    room = width
    for at, letter in enumerate(seen):
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            cut = at
            break
    else:
        return seen
    return seen[: cut - 1] + "…"
