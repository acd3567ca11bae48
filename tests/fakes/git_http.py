"""A git repository by HTTP, as plain files ("dumb" protocol, gitprotocol-http), on a server that may be away."""

import functools
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class GitServer(ThreadingHTTPServer):
    """Answers with `status` instead of the files, unless that is 200; `headers` come with it."""

    status = 200
    requests = 0

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), functools.partial(Files, directory=str(folder)))
        self.headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.server_port}/.git"


class Files(SimpleHTTPRequestHandler):
    server: GitServer

    def do_GET(self) -> None:
        self.server.requests += 1
        if self.server.status == 200:
            super().do_GET()
            return
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(repo: Path, port: int = 0) -> Iterator[GitServer]:
    """The repository of a work tree, served while the block runs."""
    subprocess.run(["git", "-C", repo, "update-server-info"], check=True)
    with GitServer(repo, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
