"""Runs a program; the error of a failed one holds its output."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.errors import ClusterError


def run(
    argv: Sequence[str | Path],
    *,
    text_in: str | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    remedy: str = "read the output above, correct the cause and start again",
) -> str:
    """Standard output of a program; `env` is added to the environment, `timeout` is in seconds.

    Raises:
        ClusterError: it ended with another code than 0, or did not end in time.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=text_in,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} was not found", "it is not installed", f"install {words[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words[:4])} took more than {timeout:.0f} s", "see the logs", remedy) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise ClusterError(f"{' '.join(words[:6])} ended with code {done.returncode}", said, remedy)
    return done.stdout
