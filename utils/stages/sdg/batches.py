"""A leaf's seed records go to the teacher in batches; what a batch gave is kept on the volume."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def seed_key(row: Row) -> str:
    """The same for the same seed record."""
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()


def answered(
    kept: Path, rows: list[Row], size: int, workers: int, ask: Callable[[list[Row]], Iterable[Row]]
) -> list[Row]:
    """What ask makes of all rows, in batches. A batch of another start counts while its rows are among these.

    After the first batch that fails, none is begun: a teacher that fails for good is asked no further. Batches that
    were asked already end by themselves, and those that succeed are kept.

    Args:
        kept: a folder for the results, one file per batch.
        size: rows in a batch.
        workers: batches at the same time.
    """
    kept.mkdir(parents=True, exist_ok=True)
    keys = list(map(seed_key, rows))
    made: list[Row] = []
    done: set[str] = set()
    for file in sorted(kept.glob("*.json")):
        found = json.loads(file.read_text())
        if {*keys} - done >= {*found["seeds"]}:
            made += found["rows"]
            done.update(found["seeds"])
    left = [(key, row) for key, row in zip(keys, rows, strict=True) if key not in done]

    stop = threading.Event()

    def batch(part: list[tuple[str, Row]]) -> list[Row]:
        if stop.is_set():
            return []
        try:
            new = [*ask([row for _, row in part])]
        except Exception:
            stop.set()
            raise
        file = kept / f"{part[0][0]}.json"
        file.with_suffix(".part").write_text(json.dumps({"seeds": [key for key, _ in part], "rows": new}))
        file.with_suffix(".part").replace(file)
        return new

    with ThreadPoolExecutor(workers) as pool:
        started = [pool.submit(batch, left[at : at + size]) for at in range(0, len(left), size)]
        try:
            for future in as_completed(started):
                future.result()
        finally:
            stop.set()
    return made + [row for future in started for row in future.result()]
