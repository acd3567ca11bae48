"""A TCP relay on loopback before a real server, that can cut connections as a bad network does."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Relay:
    """Passes bytes between clients and the server of `endpoint`.

    Attributes:
        endpoint: the address to give to the client.
        cut_after: bytes from the server after which the connection that carries them is cut; None for never.
        broken: while true, every connection is cut at once.
        cuts: connections cut so far.
        stay_broken: become `broken` with the first cut.
    """

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._server = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cut_after: int | None = None
        self.broken = False
        self.stay_broken = False
        self.cuts = 0
        self.passed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.broken:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self.passed += len(data)
                    if self.broken or (self.cut_after is not None and self.passed >= self.cut_after):
                        self.cuts += 1
                        self.cut_after = None
                        self.broken = self.stay_broken
                        break
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
