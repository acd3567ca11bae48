"""The code lies on the run's volume, where data import has put it."""

import hashlib
import json
import os
import pathlib
import sys
import types


def load_code(digest: str) -> dict:
    """What the code defines, once its hash has been checked.

    Raises:
        SystemExit: the volume has no code, or not this file's.
    """
    given = json.loads(sys.argv[sys.argv.index("--executor_input") + 1])["inputs"]["parameterValues"]
    path = pathlib.Path(given["data_dir"], "code", digest[:12], "stage_code.py")
    code = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(code).hexdigest() != digest:
        sys.exit(
            f"error: {path} is {'changed' if code else 'missing'}\n  cause: another version's, or it was tampered with"
            "\n  next: run data-import of this version on the volume; finished work stays"
        )
    module = sys.modules["stage_code"] = types.ModuleType("stage_code")
    exec(compile(code, path, "exec"), vars(module))
    return {name: value for name, value in vars(module).items() if name[:2] != "__"}


globals().update(load_code(os.environ["ILAB_CODE_SHA256"]))
