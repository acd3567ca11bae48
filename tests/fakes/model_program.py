"""A program in place of a model server: ready at once, and the same answer to each request."""

import time
from http.server import ThreadingHTTPServer

from tests.fakes.json_server import JsonHandler
from tests.fakes.models import completion


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def serve(port: int, pause: float = 0.0) -> None:
    """Answer on loopback until this process ends, each request after a pause in seconds."""

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.reply(200, {"status": "ok"})

        def do_POST(self) -> None:
            self.read()
            time.sleep(pause)
            self.reply(200, completion("A fine answer."))

    Server(("127.0.0.1", port), Handler).serve_forever()
