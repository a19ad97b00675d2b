"""Prevents web pages from sending events if no API key is required.

Without keys the intake listens on loopback only, but this does not stop a browser on this machine. Any page can use
``http://127.0.0.1:5000/purchase/sword`` as an image. A page whose own name resolves to this machine (DNS rebinding) can
post to ``/events``. The Host header cannot distinguish them, since it is data here. A browser names the requesting page
in other headers, which the page cannot change: ``Sec-Fetch-Site``, ``Origin``, ``Referer``. Games, ApacheBench and the
generator send none of these.
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
"""Endpoints that accept no events. All others are guarded, including later ones."""


def init_app(app: Flask, settings: Settings) -> None:
    """Answer 403 to pages of other sites on every endpoint that accepts events without a key."""

    @app.before_request
    def refuse_foreign_page() -> Response | None:
        if request.endpoint is None or request.endpoint in WATCHING_ENDPOINTS:
            return None
        if settings.api_keys_file and request.endpoint not in LEGACY_ENDPOINTS:
            return None  # a page can have a key only if somebody gave it one
        if not is_foreign(request.headers, hosts.raw_host()):
            return None
        return problem(
            HTTPStatus.FORBIDDEN,
            "the request comes from a web page of another site; without API keys the intake accepts events only from "
            "programs on this machine and from its own page /docs",
        )


def is_foreign(headers: Headers | Mapping[str, str], host: str) -> bool:
    """Whether a request comes from a web page other than the intake's own on this machine.

    >>> is_foreign({"Origin": "http://127.0.0.1:5000"}, "127.0.0.1:5000")
    False
    >>> is_foreign({"Sec-Fetch-Site": "cross-site"}, "127.0.0.1:5000")
    True
    """
    site = headers.get("Sec-Fetch-Site", "none")  # "none": the address bar, or not a browser
    if site not in {"none", "same-origin"}:
        return True
    pages = [headers["Origin"]] if "Origin" in headers else []
    if "://" in (referer := headers.get("Referer", "")):  # a browser sends a URL; any other text comes from a program
        pages.append(referer)
    if site == "none" and not pages:
        return False
    # a page of the same origin is ours only if its host is a name that nobody else can have
    return not is_loopback(host) or any(_authority(page) != host.lower() for page in pages)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is a loopback name of this machine.

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
    """Return host and port of a page's URL; empty for ``null``, which a page without an origin sends."""
    return re.split(r"[/?#]", page.partition("://")[2], maxsplit=1)[0].lower()
