#!/usr/bin/env python3
"""The InstructLab workflow on plain Kubernetes, with the flags of its first generation.

`python standalone.py run --help` in a checkout; `make standalone` packs it into one file, dist/standalone.py.
"""

from utils.standalone.commands import main

if __name__ == "__main__":
    main(prog_name="standalone.py")
