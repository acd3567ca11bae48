"""What handlers of servers share that answer in JSON."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any


class JsonHandler(BaseHTTPRequestHandler):
    """Reads and answers JSON, and logs nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def read(self) -> Any:
        """The body of the request."""
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def reply(self, status: int, content: Any) -> None:
        """Answer with a value as JSON, or with a text as a web page, as a gateway does."""
        page = isinstance(content, str)
        data = (content if page else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("content-type", "text/html" if page else "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
