"""The HTTP endpoint that a trial serves its reports on, in a thread of its own."""

import http.server
import threading
from collections.abc import Callable
from pathlib import Path

from podium_contract.reports import CONTENT_TYPE


class Endpoint:
    """Serves GET /metrics until closed."""

    def __init__(self, page: Callable[[], str], host: str, port: int, port_file: Path | None = None) -> None:
        """Start serving. Port 0 takes a free one; `port_file`, when given, then tells which."""

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                if self.path.split("?")[0] not in ("/metrics", "/"):
                    self.send_error(404)
                    return
                body = page().encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Scrapes are no news: the trial's log is the user's."""

        self._server = http.server.ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
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


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
