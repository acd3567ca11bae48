"""The command: `ilab-pipeline`, or `python -m ilab_pipeline`."""

import sys
from pathlib import Path


def main() -> None:
    """Run the command with our own `utils`, whatever the working directory or other packages call theirs."""
    here = Path(__file__).parent
    sys.path.insert(0, str(here if (here / "utils").is_dir() else here.parent))
    from utils.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
