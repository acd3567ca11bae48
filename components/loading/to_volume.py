"""After `carried`: the code is put on the run's volume, for the tasks that follow."""

import json
import os
import pathlib
import sys

digest = os.environ["ILAB_CODE_SHA256"]
given = json.loads(sys.argv[sys.argv.index("--executor_input") + 1])["inputs"]["parameterValues"]
folder = pathlib.Path(given["data_dir"], "code", digest[:12])
folder.mkdir(parents=True, exist_ok=True)
code, target = pathlib.Path(__file__).with_name("stage_code.py").read_bytes(), folder / "stage_code.py"
if not target.is_file() or target.read_bytes() != code:
    partial = folder / f"{os.uname().nodename}.{os.getpid()}"
    partial.write_bytes(code)
    partial.replace(target)
