"""`python -m tests.mutation [PATH ...]`: small faults are put into the code one at a time: how many do the tests see?

mutmut works on a copy of what git knows, so the checkout stays as it is. Each path is tried with the tests of its own
name, and each fault with those of them that reach the mutated function.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
AREAS = ["utils/ir", "utils/stages", "utils/runners"]
"""What is mutated when no path is given: hours."""


def tests_of(path: str) -> str:
    """The tests of a module or a folder: those of its name, else those of the nearest folder that has some."""
    inner = Path(path).relative_to("utils").with_suffix("")
    for part in (inner, *inner.parents):
        for found in (Path("tests", part.parent, f"test_{part.name}.py"), Path("tests", part)):
            if part.name and (ROOT / found).exists():
                return str(found)
    return "tests"


def run(tree: Path, *words: str) -> str:
    """The output of mutmut in the copy of the checkout."""
    command = [sys.executable, "-m", "mutmut", *words]
    done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def mutate(path: str, tests: str) -> dict[str, int]:
    """Try the faults of a module or of a folder's modules; prints those that no test noticed, and gives their number.

    Returns:
        mutmut's counts: killed, survived, no_tests, timeout, total, ….
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["xargs", "-0", "cp", "--parents", "-t", folder], cwd=ROOT, input=listed, check=True)
        settings = {"source_paths": [path], "also_copy": ["."], "pytest_add_cli_args_test_selection": [tests]}
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        with (tree / "pyproject.toml").open("a") as file:
            file.write("\n".join(["", "[tool.mutmut]", *lines, ""]))
        run(tree, "run", "--max-children", "2")
        for line in run(tree, "results").splitlines():
            if line.strip().endswith(("survived", "no tests")):
                print(run(tree, "show", line.split(":")[0].strip()), flush=True)
        run(tree, "export-cicd-stats")
        counts: dict[str, int] = json.loads((tree / "mutants" / "mutmut-cicd-stats.json").read_text())
        return counts


def main(paths: list[str]) -> None:
    """Mutate each path and print its score: the share of faults that a test noticed."""
    for path in paths or AREAS:
        tests = tests_of(path)
        counts = mutate(path, tests)
        noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
        print(
            f"{path} with {tests}: {noticed} of {counts['total']} noticed ({noticed / counts['total']:.0%})", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:])
