#!/usr/bin/env python3
"""The InstructLab workflow on plain Kubernetes, with the flags of its first generation.

`python standalone.py run --help` in a checkout; `make standalone` packs it into one file, dist/standalone.py.
"""

import sys

try:
    from utils.standalone.commands import main
except ModuleNotFoundError as error:
    sys.exit(
        f"error: this Python ({sys.executable}) has no package {error.name}\n"
        "  cause: standalone.py needs click, PyYAML, kubernetes and boto3, as a data-science workbench image has them\n"
        "  next: python3 -m pip install click pyyaml 'kubernetes<31' boto3, or run it in such an image"
    )

if __name__ == "__main__":
    main(prog_name="standalone.py")
