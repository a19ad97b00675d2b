"""Whose host a request names: its target or Host header as data, or what a trusted proxy says it was."""

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
"""WSGI key of the host that the request names, as it came."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HostIsData:
    """Takes the Host header out of Flask's sight: here it names the player's provider, it does not route.

    Flask answers 404 to a Host that cannot be a server's name; whether it is a player's host is the contract's say.

    A request from a trusted proxy names the host by X-Forwarded-Host; of several values the last one, which is the one
    that the proxy itself wrote. From anybody else the header is not looked at.
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
    """The host of a request target in absolute form, which counts before the Host header (RFC 9112, 3.2.2).

    >>> _named_by_target("http://user9.cox.com:80/purchase/sword"), _named_by_target("/purchase/sword?from=http://x")
    ('user9.cox.com:80', '')
    """
    scheme, separator, rest = target.partition("://")
    if not separator or "/" in scheme:
        return ""
    return re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]


def init_app(app: Flask, settings: Settings) -> None:
    """Put :class:`HostIsData` before the application.

    Raises:
        BadInput: a trusted proxy is neither an address nor a network.
    """
    app.wsgi_app = HostIsData(app.wsgi_app, networks(settings.api_trusted_proxies))  # type: ignore[method-assign]  # Flask's documented place


def networks(text: str) -> list[Network]:
    """The addresses and networks of a comma-separated list.

    Raises:
        BadInput: one of them is neither.

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
    """The host that the current request names, as it came; empty if it names none."""
    return as_utf8(request.environ[RAW_HOST]) or ""


def as_utf8(header: str | None, errors: str = "backslashreplace") -> str | None:
    """A header's text: WSGI hands bytes over as Latin-1."""
    return None if header is None else header.encode("latin-1").decode("utf-8", errors)
