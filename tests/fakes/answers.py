"""An HTTP server that gives prepared answers and remembers the requests."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


class Server:
    """An HTTP server on loopback; It gives `answers` in turn, repeats the last one, and remembers requests."""

    def __init__(self, answers: list[Answer], context: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.answers = answers
        self.requests: list[dict[str, Any]] = []
        self.release = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                form = headers.get("content-type", "").startswith("multipart/")
                body = sent.decode() if form else json.loads(sent or "{}")
                request = {"method": self.command, "path": self.path, "headers": headers, "body": body}
                outer.requests.append(request)
                status, content = outer.answer(self.command, self.path, body)
                if status == 0:
                    outer.release.wait(10)
                    status = 200
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", content)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET = handle_one

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """The answer to the request that came last."""
        return self.answers[min(len(self.requests), len(self.answers)) - 1]

    def stop(self) -> None:
        self.release.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
