"""A socket of this machine made reachable for pods: what connects to an address is passed on to a Unix socket."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 65536


@contextlib.contextmanager
def forwarding(host: str, target: Path) -> Iterator[int]:
    """Pass connections to a free port of `host` on to a Unix socket; OSError when `host` is not this machine."""
    open_ends: set[socket.socket] = set()

    class Passage(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as onward:
                onward.connect(str(target))
                open_ends.add(self.request)
                back = threading.Thread(target=_pump, args=(onward, self.request))
                back.start()
                _pump(self.request, onward)
                back.join()
                open_ends.discard(self.request)

    with socketserver.ThreadingTCPServer((host, 0), Passage) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            serving.join()
            for end in tuple(open_ends):  # a pod that is gone with its network never says goodbye
                end.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until the source ends, and then its end."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
