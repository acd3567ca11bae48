"""The code came with the task; it is put on the volume for later tasks where the task has a hash for it."""

import base64
import bz2
import json
import os
import pathlib
import sys


def load_code(source: str, digest: str) -> None:
    """Make the module `stage_code`.

    Args:
        source: the component's own source file; the code is put beside it.
        digest: hash of the code that is put on the volume as well; "" for a task without the volume.
    """
    folders = [pathlib.Path(source).parent]
    sys.path.insert(0, str(folders[0]))
    if digest:
        given = json.loads(sys.argv[sys.argv.index("--executor_input") + 1])["inputs"]["parameterValues"]
        folders.append(pathlib.Path(given["data_dir"], "code", digest[:12]))
        folders[1].mkdir(parents=True, exist_ok=True)
    code = bz2.decompress(base64.b64decode(os.environ.pop("ILAB_CODE")))
    for folder in folders:
        partial = folder / f"{os.uname().nodename}.{os.getpid()}"
        partial.write_bytes(code)
        partial.replace(folder / "stage_code.py")


load_code(__file__, os.environ.get("ILAB_CODE_SHA256", ""))
