"""What the SDG stage needs to know before it asks the teacher: a valid taxonomy, and the library's data folders."""

import logging
import os
import re
import sys

from utils.messages import failure


def check_taxonomy(taxonomy: str) -> list:
    """The qna.yaml files of the taxonomy, sorted, all of them valid by instructlab-schema.

    Raises:
        SystemExit: there is none, or some are not valid; the message lists every error with file and line.
    """
    kinds = ("knowledge", "compositional_skills")
    leaves = sorted(
        os.path.join(folder, "qna.yaml")
        for kind in kinds
        for folder, _, files in os.walk(os.path.join(taxonomy, kind))
        if "qna.yaml" in files
    )
    if not leaves:
        raise failure(
            f"the taxonomy at {taxonomy} has no leaf",
            f"there is no qna.yaml under {' or '.join(kinds)}",
            "add a leaf (examples/taxonomy has some), and import the taxonomy again",
        )
    errors = [error for leaf in leaves for error in leaf_errors(leaf)]
    if errors:
        raise failure(
            f"the taxonomy has {len(errors)} error(s)",
            "\n    ".join(error.replace(taxonomy + "/", "") for error in errors),
            "correct them and import the taxonomy again",
        )
    return leaves


def leaf_errors(qna: str) -> list:
    """Errors of one qna.yaml, each as `file:line: message`; empty when it is valid."""
    import yaml
    from instructlab.schema.taxonomy import TaxonomyMessageFormat, TaxonomyParser, TaxonomyReadingException

    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("instructlab.schema.taxonomy")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        # Version 0: the one that the file names. Lint warnings are errors, as instructlab-sdg takes them.
        parser = TaxonomyParser(schema_version=0, yamllint_strict=True, message_format=TaxonomyMessageFormat.LOGGING)
        parser.yq_available = False
        parsed = parser.parse(qna)
    except TaxonomyReadingException as error:
        mark = getattr(error.__cause__, "problem_mark", None)
        problem = getattr(error.__cause__, "problem", "") or str(error.__cause__ or error)
        return [f"{qna}:{mark.line + 1 if mark else 1}: {problem}"]
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    found = []
    for message in messages if parsed.errors or parsed.warnings else []:
        match = re.fullmatch(r".*?:(\d+):\d+ (?:\[(\.\S*)\] )?(.*)", message, re.DOTALL)
        if match:
            with open(qna) as file:
                line = yaml_line(yaml.compose(file), match[2]) if match[2] else int(match[1])
            text = match[3]
            if text.startswith("Cannot load schema file"):
                text = f"no schema for version {parsed.version}: this image's instructlab-schema does not know it"
            found.append(f"{qna}:{line}: {match[2] + ': ' if match[2] else ''}{text}")
    return found or ([f"{qna}:1: not valid"] if parsed.errors or parsed.warnings else [])


def yaml_line(node: object, path: str) -> int:
    """Line (from 1) of `.seed_examples[2].question` in a composed YAML document, or of the nearest part there is."""
    import yaml

    current: yaml.Node = node  # type: ignore[assignment]
    for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path):
        if key and isinstance(current, yaml.MappingNode):
            values = {name.value: value for name, value in current.value}
            if key not in values:
                break
            current = values[key]
        elif index and isinstance(current, yaml.SequenceNode) and int(index) < len(current.value):
            current = current.value[int(index)]
    return int(current.start_mark.line) + 1


def sdg_environment(scratch: str, sample_size: float, ca: str) -> None:
    """Point the libraries of this process to writable folders, and to data folders that suit this run.

    instructlab-sdg looks for its files in `instructlab/sdg` of the XDG data folders. Ours comes first and holds what
    must differ: the recipe of precomputed skills scaled by sample_size, and, where no docling models are installed, a
    models folder that is empty (Markdown needs none; without the folder the library goes to the network).

    Args:
        sample_size: fraction of the precomputed skills data that is mixed in, 0 or more.
        ca: a CA bundle for git, "" for the public roots.
    """
    import yaml

    home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [os.path.join(folder, "instructlab", "sdg") for folder in [home, *shared.split(":")]]
    own = os.path.join(scratch, "share", "instructlab", "sdg")
    if not any(os.path.exists(os.path.join(folder, "models")) for folder in folders):
        os.makedirs(os.path.join(own, "models"))
        with open(os.path.join(own, "models", "config.yaml"), "w") as file:
            yaml.safe_dump({"models": [{"path": os.path.join(own, "models")}]}, file)
    recipes = [os.path.join(folder, "default_data_recipes", "skills.yaml") for folder in folders]
    recipe = next(filter(os.path.exists, recipes), "")
    if recipe and sample_size != 1:
        with open(recipe) as file:
            content = yaml.safe_load(file)
        content["datasets"] = scaled_datasets(content.get("datasets") or [], sample_size)
        os.makedirs(os.path.join(own, "default_data_recipes"))
        with open(os.path.join(own, "default_data_recipes", "skills.yaml"), "w") as file:
            yaml.safe_dump(content, file)
    os.environ.update(
        XDG_DATA_HOME=os.path.join(scratch, "share"),
        XDG_DATA_DIRS=f"{home}:{shared}",
        XDG_CACHE_HOME=os.path.join(scratch, "cache"),
        HF_HOME=os.path.join(scratch, "huggingface"),
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        GIT_TERMINAL_PROMPT="0",
        PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", ""),
        **({"GIT_SSL_CAINFO": ca} if ca else {}),
    )


def scaled_datasets(datasets: list, sample_size: float) -> list:
    """A recipe's datasets with their shares times sample_size.

    A share is a fraction (float) or a number of rows (int) to the library, and it can't take none: at 0 the datasets
    are left out, and a number of rows is at least 1.
    """
    if sample_size <= 0:
        return []
    return [
        {
            **dataset,
            "sampling_size": max(1, round(dataset["sampling_size"] * sample_size))
            if isinstance(dataset["sampling_size"], int)
            else dataset["sampling_size"] * float(sample_size),
        }
        for dataset in datasets
    ]
