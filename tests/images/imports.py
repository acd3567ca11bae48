"""What the code of a component imports and which programs it starts, read from its source."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType

from utils.files import ROOT
from utils.packing import module_file, stage_files
from utils.stages.train import packing, progress_server
from utils.stages.train.hub import HUB
from utils.stages.train.trainer import TRAINER

# What a name in an import is called as a distribution, where they differ. The longest match counts.
PODS = (TRAINER, packing.__file__, progress_server.__file__, HUB)
"""The programs of training pods."""
DISTRIBUTIONS = {
    "google.cloud.storage": "google-cloud-storage",
    "instructlab.eval": "instructlab-eval",
    "instructlab.schema": "instructlab-schema",
    "instructlab.sdg": "instructlab-sdg",
    "instructlab.training": "instructlab-training",
    "lm_eval": "lm-eval",
    "yaml": "pyyaml",
}


def sources(func: FunctionType) -> list[str]:
    """The source of a component's function and of all that it can reach in our modules.

    Not that of the programs that training pods run: they have an image of their own (test_training_images.py).
    """
    files = stage_files(our_names(func))
    own = [path for path in files if path.endswith(".py") and str(ROOT / path) not in PODS]
    return [textwrap.dedent(inspect.getsource(func)), *(files[path].decode() for path in own)]


def our_names(func: FunctionType) -> list[str]:
    """Full names that a component's function imports from our modules."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(func)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return [f"{n.module}.{alias.name}" for n in nodes if str(n.module).startswith("utils.") for alias in n.names]


def needed_at_once(func: FunctionType, files: Mapping[str, bytes]) -> set[str]:
    """Distributions that are imported when a component's function imports its stage from all stages' files."""
    found, seen = set[str](), set[Path]()
    queue = [name.rpartition(".")[0] for name in our_names(func)]
    while queue:
        file = module_file(queue.pop())
        if not file or file in seen:
            continue
        seen.add(file)
        for node in ast.parse(files.get(str(file.relative_to(ROOT)), b"")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= third_party(ast.unparse(node))
            if isinstance(node, ast.ImportFrom):
                queue += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def third_party(source: str) -> set[str]:
    """Distributions that `source` imports, also those of modules that it imports by a literal name or starts (-m)."""
    found = set()
    for module in modules(source):
        if module.partition(".")[0] == "utils":
            continue
        if module.partition(".")[0] not in sys.stdlib_module_names:
            parts = module.split(".")
            names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
            found.add(next((DISTRIBUTIONS[name] for name in names if name in DISTRIBUTIONS), parts[0]))
    return found


def modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from _text(node.args[:1])
        elif isinstance(node, ast.List):
            words = [ast.unparse(item).strip("'") for item in node.elts]
            if words[:2] == ["sys.executable", "-m"]:  # of other programs it is an option of their own, in other pods
                yield words[2]


def programs(source: str) -> set[str]:
    """Programs that `source` starts by name: the first word of a list that goes to subprocess, directly or named."""
    calls, lists = [], {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and isinstance(node.targets[0], ast.Name):
            lists[node.targets[0].id] = node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess.") and node.args:
            calls.append(node.args[0])
    found = (lists.get(call.id) if isinstance(call, ast.Name) else call for call in calls)
    return {word for node in found if isinstance(node, ast.List) for word in _text(node.elts[:1])}


def _text(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
