"""Tells how far training is, over HTTP: part of trainer.py, with a copy beside that in the phase's folder.

It imports none of our modules.
"""

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def progress_of(given: argparse.Namespace, rows: int) -> tuple[int, dict[str, Any]]:
    """Samples seen, and the progress of training as OpenShift AI's dashboard shows it.

    Args:
        given: num_epochs, effective_batch_size, output_dir of main_ds.
        rows: samples of an epoch.
    """
    path = Path(given.output_dir, "training_params_and_metrics_global0.jsonl")
    last: dict[str, Any] = {}
    if path.exists():
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - (1 << 16)))
            whole = file.read().split(b"\n")[1:-1]  # the first and the last may be cut
        last = next((entry for line in reversed(whole) if "samples_seen" in (entry := json.loads(line or b"{}"))), {})
    seen, total = int(last.get("samples_seen", 0)), rows * given.num_epochs
    loss = last.get("avg_loss", last.get("total_loss"))
    return seen, {
        "progressPercentage": min(100, 100 * seen // total),
        "currentStep": -(-seen // given.effective_batch_size),
        "totalSteps": given.num_epochs * -(-rows // given.effective_batch_size),
        "currentEpoch": min(given.num_epochs, 1 + seen // rows),
        "totalEpochs": given.num_epochs,
        "trainMetrics": {} if loss is None else {"loss": loss},
    }


def serve_progress(port: int, given: argparse.Namespace) -> ThreadingHTTPServer | None:
    """Answer every GET with `progress_of` as JSON, in the background; None when the port is in use."""
    with open(given.data_path, "rb") as file:
        rows = sum(1 for _ in file)
    began, first = time.monotonic(), progress_of(given, rows)[0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen, told = progress_of(given, rows)
            left = (time.monotonic() - began) * (rows * given.num_epochs - seen)
            told["estimatedRemainingSeconds"] = round(left / (seen - first)) if seen > first else None
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: it would stand between the lines of the training."""

    try:
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        print(f"progress is not told on port {port}: {error}", flush=True)
        return None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
