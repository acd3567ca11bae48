"""`python -m tests.mutation [--sample N] [--seed N] [PATH ...]`: how many small faults in the code do the tests notice?

mutmut puts one fault at a time into a copy of what git knows, so the checkout stays as it is. A fault is tried with the
tests of its room that reach the changed function. Faults that only change the wording of a message are left out.
"""

import argparse
import ast
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents

ROOT = Path(__file__).parents[2]
AREAS = ["utils/ir", "utils/stages", "utils/runners"]
"""What is mutated when no path is given: hours without a sample."""

ALONE = "utils/runners/local/keeper.py"
"""Runs without any package, so without mutmut's, which a file with faults needs."""

NOTICED = ("killed", "timeout", "segfault")
"""mutmut's results that count as noticed. A timeout is a fault that makes a test hang."""


@dataclass(frozen=True)
class Fault:
    """A fault that mutmut knows how to make."""

    path: str
    name: str  # mutmut's: utils.ir.walk.x_function__mutmut_3


class Prose(ast.NodeTransformer):
    """Makes two texts of several words the same when mutmut only changed the case of one, or put it between XX."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str) and " " in node.value:
            return ast.Constant(node.value.removeprefix("XX").removesuffix("XX").lower())
        return node


def faults_of(path: str) -> Iterator[Fault]:
    """The faults of a module."""
    mutated = mutate_file_contents(path, (ROOT / path).read_text())
    functions: dict[str, str] = {}
    for node in ast.walk(ast.parse(mutated.code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "__mutmut_" in node.name:
            name, node.name, node.decorator_list = node.name, "", []
            functions[name] = ast.dump(Prose().visit(node))
    for name in mutated.mutant_names:
        if functions[name] != functions[f"{name.partition('__mutmut_')[0]}__mutmut_orig"]:
            yield Fault(path, f"{path.removesuffix('.py').replace('/', '.')}.{name}")


def tests_of(path: str) -> tuple[str, ...]:
    """The tests of a module's room: its folder, or the files of its name directly below tests/stages and the like."""
    inner = Path(path).relative_to("utils").with_suffix("")
    room = inner.parent if str(inner.parent) not in (".", "stages", "runners") else inner
    for part in (room, *room.parents):
        if part.name:
            folder = ROOT / "tests" / part
            files = sorted(folder.parent.glob(f"test_{part.name}*.py"))
            found = [*([folder] if folder.is_dir() else []), *files]
            if found:
                return tuple(str(one.relative_to(ROOT)) for one in found)
    return ("tests",)


def run(tree: Path, *words: str) -> str:
    """The output of mutmut in the copy of the checkout."""
    command = [sys.executable, "-m", "mutmut", *words]
    done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


@contextmanager
def copied(sources: list[str], tests: tuple[str, ...]) -> Iterator[Path]:
    """A copy of the checkout, with mutmut's settings."""
    settings = {"source_paths": sources, "also_copy": ["."], "pytest_add_cli_args_test_selection": tests}
    with tempfile.TemporaryDirectory() as folder:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["xargs", "-0", "cp", "--parents", "-t", folder], cwd=ROOT, input=listed, check=True)
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        with Path(folder, "pyproject.toml").open("a") as file:
            file.write(
                "\n".join(["", "[tool.mutmut]", "timeout_constant = 12.0", "timeout_multiplier = 5.0", *lines, ""])
            )
        yield Path(folder)


def try_out(faults: list[Fault], tests: tuple[str, ...]) -> Counter[str]:
    """Try faults of one room; prints those that no test noticed, and gives the number of each of mutmut's results."""
    names = sorted(fault.name for fault in faults)
    with copied(sorted({fault.path for fault in faults}), tests) as tree:
        run(tree, "run", "--max-children", "4", *names)
        results = dict(line.strip().split(": ") for line in run(tree, "results", "--all", "1").splitlines())
        for name in names:
            if results[name] != "killed":
                print(run(tree, "show", name), flush=True)
    return Counter(results[name] for name in names)


def score(counts: Counter[str]) -> str:
    """The share of faults that a test noticed."""
    noticed = sum(counts[result] for result in NOTICED)
    return f"{noticed} of {counts.total()} noticed ({noticed / counts.total():.0%}), {counts['timeout']} by a timeout"


def measure(area: str, sample: int, seed: int) -> None:
    """Try faults of a module or a folder, a random sample when there are more, and print the score of each room."""
    found = [ROOT / area] if area.endswith(".py") else (ROOT / area).rglob("*.py")
    files = sorted({str(path.relative_to(ROOT)) for path in found} - {ALONE})
    with copied([area], ()) as tree, chdir(tree):  # mutmut reads its settings from the working directory
        every = [fault for path in files for fault in faults_of(path)]
    chosen = random.Random(seed).sample(every, sample) if 0 < sample < len(every) else every
    rooms: dict[tuple[str, ...], list[Fault]] = defaultdict(list)
    for fault in chosen:
        rooms[tests_of(fault.path)].append(fault)
    counts: Counter[str] = Counter()
    for tests, faults in sorted(rooms.items()):
        tried = try_out(faults, tests)
        print(f"{' '.join(tests)}: {score(tried)}", flush=True)
        counts += tried
    print(f"{area}: {score(counts)}; {len(chosen)} of {len(every)} possible faults, seed {seed}", flush=True)


def main() -> None:
    """Measure each path."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Try small faults in the code.")
    parser.add_argument("paths", nargs="*", default=AREAS, metavar="PATH", help="a module or a folder")
    parser.add_argument("--sample", type=int, default=0, help="faults per path, drawn at random; all when 0")
    parser.add_argument("--seed", type=int, default=1, help="of the drawing")
    args = parser.parse_args()
    for path in args.paths:
        measure(path.rstrip("/"), args.sample, args.seed)


if __name__ == "__main__":
    main()
