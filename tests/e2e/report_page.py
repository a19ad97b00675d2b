"""The report as a reader opens it: a file in a browser, with checks that hold for every page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
DESKTOP, PHONE = (1280, 900), (390, 844)

_HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(h => Number(h.tagName[1]))"
_PICTURES = "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), s.getAttribute('aria-label')])"
_UNNAMED = """[...document.querySelectorAll('a,summary,[role=region]')].filter(
    e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length"""
_DOUBLE_IDS = """(ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(e => e.id))"""
_LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))"
_WIDER = "document.documentElement.scrollWidth - window.innerWidth"


class ReportPage:
    """A page of the report, opened from the disk."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.file = file
        self.errors: list[str] = []
        """Errors from the browser's console; violations of the content security policy appear there too."""
        self.asked: list[str] = []
        """All requested URLs."""
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())

    def check(self, pictures: int) -> None:
        """Check what holds for every page: it sends no request, labels what it shows, and fits.

        Args:
            pictures: the minimum number of charts.
        """
        evaluate = self.page.evaluate
        assert self.errors == []
        assert self.asked == [self.file.as_uri()], "one file, and nothing else is asked for"
        assert (evaluate("document.documentElement.lang"), bool(evaluate("document.title"))) == ("en", True)
        levels = evaluate(_HEADINGS)
        assert levels.count(1) == 1
        assert all(below - above <= 1 for above, below in pairwise(levels)), levels
        shown = evaluate(_PICTURES)
        assert len(shown) >= pictures
        assert [one for one in shown if one[0] != "img" or len(one[1] or "") < 20] == [], "a chart says what it shows"
        tables = evaluate("document.querySelectorAll('table').length")
        assert tables == evaluate("document.querySelectorAll('caption').length")
        assert (evaluate(_UNNAMED), evaluate(_DOUBLE_IDS)) == (0, 0)
        assert evaluate("document.querySelectorAll('main').length") == 1
        for link in evaluate(_LINKS):
            name, _, anchor = link.partition("#")
            assert not name or (self.file.parent / name).exists(), f"{link} leads nowhere"
            assert name or evaluate(f"!!document.getElementById({anchor!r})"), f"{link} leads nowhere"
        assert evaluate(_WIDER) <= 0, "the page does not scroll sideways, its tables do"


@contextmanager
def opened(browser: Browser, file: Path, size: tuple[int, int], scheme: Scheme = "light") -> Iterator[ReportPage]:
    """Open a page of the report in a window of this size, in light or dark mode."""
    window = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        has_touch=size == PHONE,
        reduced_motion="reduce",
    )
    yield ReportPage(window.new_page(), file)
    window.close()
