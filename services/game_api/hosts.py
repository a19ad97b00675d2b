"""The host that a request names, as data: from its target, its Host header or a trusted proxy."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, request

from daybook.errors import BadInput
from daybook.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RAW_HOST = "daybook.raw_host"
"""WSGI key of the host that the request names, unchanged."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HostHeaderMiddleware:
    """Hides the Host header from Flask: here it names the player's provider and is not used for routing.

    Flask answers 404 to a Host that cannot be a server's name; here the contract decides whether it is a valid host.

    For a request from a trusted proxy, X-Forwarded-Host is used. If it has several values, the last one counts, which
    the proxy itself wrote. The header is ignored in all other requests.
    """

    def __init__(self, application: WSGIApplication, trusted: list[Network]) -> None:
        self._application = application
        self._trusted = trusted

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        forwarded = environ.get("HTTP_X_FORWARDED_HOST")
        if forwarded is not None and self._is_trusted(environ.get("REMOTE_ADDR", "")):
            environ[RAW_HOST] = forwarded.rpartition(",")[2].strip()
        else:
            environ[RAW_HOST] = _named_by_target(environ.get("RAW_URI", "")) or environ.get("HTTP_HOST", "")
        environ["HTTP_HOST"] = "localhost"
        return self._application(environ, start_response)

    def _is_trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a Unix socket has no address
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._trusted)


def _named_by_target(target: str) -> str:
    """Return the host of a request target in absolute form, which overrides the Host header (RFC 9112, 3.2.2).

    >>> _named_by_target("http://user9.cox.com:80/purchase/sword"), _named_by_target("/purchase/sword?from=http://x")
    ('user9.cox.com:80', '')
    """
    scheme, separator, rest = target.partition("://")
    if not separator or "/" in scheme:
        return ""
    return re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]


def init_app(app: Flask, settings: Settings) -> None:
    """Wrap the application in :class:`HostHeaderMiddleware`.

    Raises:
        BadInput: a trusted proxy is neither an address nor a network.
    """
    app.wsgi_app = HostHeaderMiddleware(app.wsgi_app, networks(settings.api_trusted_proxies))  # type: ignore[method-assign]  # Flask's documented place


def networks(text: str) -> list[Network]:
    """Parse a comma-separated list of addresses and networks.

    Raises:
        BadInput: an element is neither.

    >>> networks("10.0.0.0/8, ::1")
    [IPv4Network('10.0.0.0/8'), IPv6Network('::1/128')]
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part))
        except ValueError as error:
            raise BadInput(f"settings: DAYBOOK_API_TRUSTED_PROXIES: {error}") from None
    return found


def raw_host() -> str:
    """Return the host that the current request names, unchanged; empty if there is none."""
    return as_utf8(request.environ[RAW_HOST]) or ""


def as_utf8(header: str | None, errors: str = "backslashreplace") -> str | None:
    """Decode a header as UTF-8: WSGI passes its bytes as Latin-1."""
    return None if header is None else header.encode("latin-1").decode("utf-8", errors)
