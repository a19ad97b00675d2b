"""A TLS server and a proxy that tunnels to it, as in a company network; both on loopback."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote


class _Served:
    """An HTTP server in its own thread, for a ``with`` block."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class TlsServer(_Served):
    """Serves files by path.

    Args:
        files: path -> content.
        certificate: PEM file.
        key: PEM file.
    """

    def __init__(self, files: dict[str, bytes], certificate: Path, key: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", "application/octet-stream" if "." in self.path else "text/html")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content or b"")

            do_HEAD = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing."""

        super().__init__(Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # the connection's thread does the handshake: a client that gives up must not end the server
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """Its root URL."""
        return f"https://127.0.0.1:{self.port}"


class InspectingProxy(_Served):
    """Requires a user name and a password, and connects every tunnel to one server, whatever its host.

    Args:
        server: the target of the tunnels.
        user: name.
        password: password.
    """

    def __init__(self, server: TlsServer, user: str, password: str) -> None:
        wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                if self.headers.get("Proxy-Authorization") != wanted:
                    self.send_response(407)
                    self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                with socket.create_connection(("127.0.0.1", server.port)) as there:
                    back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
                    back.start()
                    _pump(self.connection, there)
                    back.join()

            def log_message(self, format: str, *arguments: object) -> None:
                """Log nothing."""

        super().__init__(Handler)
        self.asked = asked
        self.url = f"http://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{self.port}"


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Forward data until one side closes."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
