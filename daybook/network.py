"""Network access of set-up: the certificates that this machine trusts, and its proxy.

A company's proxy can intercept TLS connections. Then the company's own authority signs every certificate: the machine
trusts it, but the lists that come with pip, uv and Java do not have it. Needs only the standard library, for
``bootstrap.py``.
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

UNKNOWN_ISSUER = re.compile(r"CERTIFICATE_VERIFY_FAILED|UnknownIssuer|PKIX path building failed")
"""Messages of pip, uv and Java for a certificate with an unknown issuer."""

_NAMING_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS
)


def system_certificates() -> Path | None:
    """Return the PEM file of trusted authorities, from the environment or the system; None if neither has one.

    The variables are those of OpenSSL, pip, requests and curl: a file that is set for one tool is used for all.
    """
    named = [os.environ[name] for name in _NAMING_VARIABLES if os.environ.get(name)]
    places = [*named, _default_bundle(), *_BUNDLES]
    return next((path for path in (Path(place) for place in places if place) if path.is_file()), None)


def _default_bundle() -> str | None:
    """Return the default certificate file of this Python's OpenSSL."""
    return ssl.get_default_verify_paths().cafile


def java_proxy_options() -> list[str]:
    """Return options that make Java use ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY``, as pip and uv do.

    Java ignores these variables. User and password are in the form that Ivy reads, for both kinds of proxies.
    """
    proxies = urllib.request.getproxies()
    options: list[str] = []
    for scheme in ("https", "http"):
        proxy = proxies.get(scheme) or proxies.get("all")
        if not proxy:
            continue
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        options.append(f"-D{scheme}.proxyHost={parts.hostname}")
        options.append(f"-D{scheme}.proxyPort={parts.port or (443 if parts.scheme == 'https' else 80)}")
        if parts.username:
            options.append(f"-Dhttp.proxyUser={unquote(parts.username)}")
            options.append(f"-Dhttp.proxyPassword={unquote(parts.password or '')}")
    if options:
        # by default Java does not send a password to open a tunnel
        options.append("-Djdk.http.auth.tunneling.disabledSchemes=")
        options.append(f"-Dhttp.nonProxyHosts={_java_hosts(proxies.get('no', ''))}")
    return list(dict.fromkeys(options))


def _java_hosts(no_proxy: str) -> str:
    """Return ``NO_PROXY`` in Java's form: a name covers itself and every name below it.

    >>> _java_hosts("example.com, .corp:8080")
    'localhost|127.*|[::1]|example.com|*.example.com|corp|*.corp'
    """
    hosts = ["localhost", "127.*", "[::1]"]  # Java's defaults, which the option would replace
    for word in no_proxy.split(","):
        name = word.strip().removeprefix("*").removeprefix(".").partition(":")[0]
        if word.strip() == "*":
            hosts.append("*")
        elif name:
            hosts += [name, f"*.{name}"]
    return "|".join(hosts)
