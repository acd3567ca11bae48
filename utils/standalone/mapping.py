"""From flags to the pipeline's parameters."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from utils.arguments import CREDENTIALS, holds_credentials
from utils.stages.prerequisites.parameters import check_object_names, check_parameters
from utils.standalone.flags import FLAGS
from utils.standalone.options import Given
from utils.standalone.parts import Part

_VOLUME = "/data"  # where tasks see the run's volume
_TOLERATION = re.compile(r"(?P<key>[^=:]*)(=(?P<value>[^:]*))?(:(?P<effect>NoSchedule|PreferNoSchedule|NoExecute))?")


def pipeline_arguments(given: Given, part: Part) -> tuple[dict[str, Any], list[str]]:
    """Parameters of the pipeline, except the names of Secrets and of the CA; and findings about the flags."""
    arguments: dict[str, Any] = {}
    for flag in FLAGS.values():
        if given[flag.key] is not None:
            arguments.update(dict.fromkeys(flag.sets, given[flag.key]))
    arguments["k8s_storage_class_name"] = given["storage_class"] or ""
    arguments["k8s_keep_volume"] = given["keep_volume"] or ("always" if part.name else "on_failure")
    findings = [
        f"{flag.name}: {CREDENTIALS}"
        for flag in FLAGS.values()
        if not flag.secret and holds_credentials(given[flag.key])
    ]
    arguments |= taxonomy(given, findings)
    arguments |= model_to_train(given, part, findings)
    arguments["train_node_selectors"] = node_selectors(given["node_selector"], findings)
    arguments["train_tolerations"] = tolerations(given["toleration"], findings)
    return arguments, findings


def out_of_range(values: Mapping[str, Any]) -> list[str]:
    """The findings of prerequisites about the pipeline's parameters, with the names of the flags that set them.

    Args:
        values: of all parameters, defaults included.
    """
    flags = {name: flag.name for flag in FLAGS.values() for name in flag.sets}
    wrong = [*check_parameters(values), *check_object_names(values, on_kfp=False)]
    found = [one.problem for one in wrong]
    return list(dict.fromkeys(re.sub(r"\w+", lambda word: flags.get(word[0], word[0]), text) for text in found))


def taxonomy(given: Given, findings: list[str]) -> dict[str, Any]:
    """What to clone from --taxonomy-repo-url; without a URL, a note for the report that names branch or request.

    The first generation cloned nothing: the two flags only named the branches it compared. The archive's taxonomy is
    used as it is.
    """
    branch, text = given["taxonomy_repo_branch"] or "", given["taxonomy_repo_pr"] or "0"
    if not re.fullmatch(r"-?\d+", text.strip()):
        findings.append(f"--taxonomy-repo-pr {text!r} is not a number; -1 means none")
        return {}
    number = max(int(text), 0)
    if given["taxonomy_repo_url"]:
        if branch and number:
            findings.append("--taxonomy-repo-branch and --taxonomy-repo-pr: give only one of them")
        return {"sdg_repo_branch": branch, "sdg_repo_pr": number}
    named = [f"branch {branch}"] * bool(branch) + [f"pull request {number}"] * bool(number)
    return {"report_notes": [f"Taxonomy of the archive, said to be {' and '.join(named)}."]} if named else {}


def model_to_train(given: Given, part: Part, findings: list[str]) -> dict[str, Any]:
    """The folder that the phase of the subcommand `train` starts from, below the volume's root.

    A path of the first generation's volume means the same folder of ours.
    """
    path = (given["model_to_train"] or "").strip()
    if not path:
        return {}
    folder = path.removeprefix(f"{_VOLUME}/").replace("model/output/phase_", "phase_").rstrip("/")
    if part.name != "train":
        findings.append("--model-to-train requires the subcommand train: a whole run trains the model of the archive")
    elif folder.startswith("/") or ".." in folder.split("/"):
        findings.append(f"--model-to-train {path}: expected a folder on the run's volume, like {_VOLUME}/model")
    return {f"train_model_phase_{given['training_phase']}": folder}


def node_selectors(pairs: Sequence[str], findings: list[str]) -> dict[str, str]:
    """Labels from KEY=VALUE."""
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator:
            findings.append(f"--node-selector {pair!r}: expected KEY=VALUE")
        found[key] = value
    return found


def tolerations(texts: Sequence[str], findings: list[str]) -> list[dict[str, str]]:
    """Tolerations from KEY[=VALUE][:EFFECT], as `kubectl taint` writes taints."""
    found = []
    for text in texts:
        match = _TOLERATION.fullmatch(text)
        if not match or not match["key"]:
            findings.append(f"--toleration {text!r}: expected KEY[=VALUE][:NoSchedule|PreferNoSchedule|NoExecute]")
            continue
        one = {"key": match["key"], "operator": "Exists" if match["value"] is None else "Equal"}
        one |= {name: match[name] for name in ("value", "effect") if match[name] is not None}
        found.append(one)
    return found
