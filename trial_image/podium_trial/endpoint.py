"""The HTTP endpoint that a trial serves its reports on, in a thread of its own."""

import http.server
import socket
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path

from podium_contract.reports import CONTENT_TYPE

_PROMETHEUS_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
"""Sent by Prometheus, which reads the gauges and skips the reports."""


class Endpoint:
    """Serves GET /metrics until closed."""

    def __init__(
        self,
        page: Callable[[], tuple[str, int]],
        collected: Callable[[int], None],
        host: str,
        port: int,
        port_file: Path | None = None,
    ) -> None:
        """Start serving, at every address of the machine when `host` is empty.

        Port 0 takes a free one; `port_file`, when given, then tells which. `page` returns a page and its mark;
        `collected` is called with the mark once the page was received by somebody who reads reports. Raises OSError when
        the port is taken.
        """

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path.split("?")[0] not in ("/metrics", "/"):
                    self.send_error(404)
                    return
                text, mark = page()
                body = text.encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if _PROMETHEUS_HEADER not in self.headers:
                    collected(mark)

            def log_message(self, *_: object) -> None:
                """Scrapes are no news: the trial's log is the user's."""

        try:
            self._server = _Server(host, port, Handler)
        except OSError as fault:
            raise OSError(
                fault.errno,
                f"the reports cannot be served on port {port}: {fault.strerror}; one process of a trial calls start(), "
                "and nothing else may use trial.metrics.port",
            ) from fault
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        if port_file is not None:
            _write_whole(port_file, str(self.port))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    """Listens on IPv6 and IPv4 alike, as far as the machine has them, unless one address is wanted."""

    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        self._is_for_all = not host
        if self._is_for_all:
            self.address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        else:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        if self._is_for_all and self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks for the machine's full name, which may take long


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
