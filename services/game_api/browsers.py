"""Keeps web pages from sending events where no API key is asked for.

Without keys the intake listens on loopback alone, which is no wall against a browser on this machine: any page can name
``http://127.0.0.1:5000/purchase/sword`` as an image, and a page whose own name is made to point here (DNS rebinding)
can post to ``/events``. The Host header cannot tell, since it is data here. A browser says in other headers which page
asks, and the page cannot change them: ``Sec-Fetch-Site``, ``Origin``, ``Referer``. Games, ApacheBench and the generator
send none of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from flask import Flask, Response, request
from werkzeug.datastructures import Headers

from daybook.settings import Settings
from game_api import hosts
from game_api.access import LEGACY_ENDPOINTS, OPEN_ENDPOINTS
from game_api.problems import problem

WATCHING_ENDPOINTS: Final = (OPEN_ENDPOINTS - LEGACY_ENDPOINTS) | {"metrics"}
"""What takes no event. Everything else is guarded, also what is added later."""


def init_app(app: Flask, settings: Settings) -> None:
    """Answer 403 to another site's page, wherever an event is taken without a key."""

    @app.before_request
    def refuse_foreign_page() -> Response | None:
        if request.endpoint is None or request.endpoint in WATCHING_ENDPOINTS:
            return None
        if settings.api_keys_file and request.endpoint not in LEGACY_ENDPOINTS:
            return None  # a page that has a key was given it
        if not is_foreign(request.headers, hosts.raw_host()):
            return None
        return problem(
            HTTPStatus.FORBIDDEN,
            "a web page of another site asks; without API keys the intake takes events from this machine's programs, "
            "and from its own page /docs",
        )


def is_foreign(headers: Headers | Mapping[str, str], host: str) -> bool:
    """Whether a browser says that a page asks which is not the intake's own on this machine.

    >>> is_foreign({"Origin": "http://127.0.0.1:5000"}, "127.0.0.1:5000")
    False
    >>> is_foreign({"Sec-Fetch-Site": "cross-site"}, "127.0.0.1:5000")
    True
    """
    site = headers.get("Sec-Fetch-Site", "none")  # none: the address bar, or no browser
    if site not in {"none", "same-origin"}:
        return True
    pages = [headers["Origin"]] if "Origin" in headers else []
    if "://" in (referer := headers.get("Referer", "")):  # a browser's is an address; any other text is a program's
        pages.append(referer)
    if site == "none" and not pages:
        return False
    # a page of the same origin is ours only by a name that nobody else can have
    return not is_loopback(host) or any(_authority(page) != host.lower() for page in pages)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is a name of this machine for itself.

    >>> is_loopback("localhost:5000"), is_loopback("[::1]:5000"), is_loopback("127.0.0.1.example.com")
    (True, True, False)
    """
    name = re.sub(r":\d*$", "", host.lower()) if not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _authority(page: str) -> str:
    """Host and port of a page's address; empty for ``null``, which is what a page without an origin says."""
    return re.split(r"[/?#]", page.partition("://")[2], maxsplit=1)[0].lower()
