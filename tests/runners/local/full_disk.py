"""Works on a run whose home is a disk of 4 MB, which the task fills; makes room, and resumes it: HOME PACKAGE.

Runs in mount and user namespaces of its own (`unshare --map-root-user --mount`). Prints JSON.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(*words: str) -> dict[str, Any]:
    program = "from utils.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, timeout=120
    )
    return {"code": done.returncode, "said": done.stdout + done.stderr}


def main(home: str, package: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", home], check=True)
    volume = Path(home, "claims/shared")
    volume.mkdir(parents=True)
    run = ["run", "--on", "local", "--package", package, "--home", home, "--run-id", "r1", "--python", sys.executable]
    first = command(*run, "-p", f"data_dir={volume}")
    (volume / "filler").unlink()
    print(json.dumps([first, command("resume", "r1", "--home", home)]))


if __name__ == "__main__":
    main(*sys.argv[1:])
