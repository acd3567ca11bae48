"""In which format each model is asked: a family's template on plain completions, or the server's own on chats.

Prerequisites and the stage decide it alike.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.messages import failure

CHAT = "chat"
OWN = "the SDG pipeline's own"
"""The format of a block with a `model_prompt`."""

PIPELINES = ("knowledge.yaml", "freeform_skills.yaml", "grounded_skills.yaml")
"""What a folder with an SDG pipeline must hold."""
QUESTIONS = "mmlu_bench.yaml"
"""What it may hold: how multiple-choice questions are generated."""

AGENTIC = "/usr/share/instructlab/sdg/pipelines/agentic"
ADAPTERS = ("skill-classifier-v3-clm", "text-classifier-knowledge-v3-clm")
"""The SDG pipeline of the image, and the models that it names, for those who can't read it."""

_CERTAIN = {
    "mixtral": r"mixtral(?![a-z]|.*8x22b).*",
    "mistral": r"mistral-7b-instruct(?!-v0[._-]3).*",
    "llama": r"(meta-)?llama-3[._-][123]-\d+b-instruct.*",
    "granite": r"granite-7b.*",
    "merlinite": r"merlinite.*",
}
"""instructlab-sdg's families, and the model names that its template certainly fits.

Its granite is the format of Granite 7B, not of Granite 3; its llama that of Llama 3.1 to 3.3; its mixtral and mistral
those of the first tokenizers.
"""


def family_in(name: str) -> str:
    """The family that a model's name or path says for certain: CHAT for another model, "" if it says nothing.

    Of a path, the last folder counts that looks like a model's name: `models--mistralai--Mixtral-8x7B/snapshots/4f1a`.
    """
    for part in reversed(re.split("/|--", name.lower())):
        for family, pattern in _CERTAIN.items():
            if re.fullmatch(pattern, part):
                return family
        if re.search(r"\d", part) and not re.fullmatch("[0-9a-f]+", part):
            return CHAT
    return ""


def cards_of(listing: Any) -> dict[str, dict[str, Any]]:
    """The models in an answer of /v1/models, by id; none if it is something else."""
    models = listing.get("data") if isinstance(listing, dict) else None
    return {str(c.get("id")): c for c in models if isinstance(c, dict)} if isinstance(models, list) else {}


@dataclass(frozen=True)
class Formats:
    """How the models of a run are asked.

    Attributes:
        setting: sdg_teacher_family.
        teacher: the teacher's model_name.
        cards: what the server lists (`cards_of`); only auto uses it.
    """

    setting: str
    teacher: str
    cards: Mapping[str, Mapping[str, Any]]

    def of(self, model: str) -> tuple[str, str]:
        """The format of a model, and why it is used.

        vLLM lists with each name the model's path (`root`), and with that of an adapter the model below (`parent`). A
        root that names another model counts more than the name that somebody gave it.
        """
        if self.setting != "auto":
            return self.setting, "sdg_teacher_family"
        if model not in {*self.cards, self.teacher} and family_in(model) in ("", CHAT):
            return self.of(self.teacher)
        card = self.cards.get(model, {})
        parent = str(card.get("parent") or "")
        root = str(self.cards.get(parent, card).get("root") or "")
        for what, name in (("root", root), ("name", parent or model)):
            if family := family_in(name):
                return family, f"its {what} is {name}"
        return CHAT, "no name says its family"

    def requests(self, sdg_pipeline: str) -> dict[tuple[str, str], str]:
        """(model, format) of all that an SDG pipeline asks, the teacher first, with the reason for the format."""
        found = {}
        for named, own in sorted({*blocks_of(sdg_pipeline)}):
            model = named or self.teacher
            found[model, own or self.of(model)[0]] = "a block says so" if own else self.of(model)[1]
        return found


def path_of(family: str) -> str:
    """Where a format's requests go, below /v1/."""
    return "chat/completions" if family == CHAT else "completions"


def named_files(value: Any, named: bool = False) -> Iterator[str]:
    """The files that blocks of an SDG pipeline name (config_path, config_paths), at any depth."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from named_files(one, named or str(key).startswith("config_path"))
    elif isinstance(value, list):
        for one in value:
            yield from named_files(one, named)
    elif named and isinstance(value, str):
        yield value


def confine(pipeline: Path, named: str) -> None:
    """Refuse a file that an SDG pipeline names outside its own folder and the image's.

    The library reads any path, and puts what it finds into prompts and samples: a Secret's key, for example.

    Raises:
        SystemExit: it is outside.
    """
    folder, path = pipeline.parent.resolve(), (pipeline.parent / named).resolve()
    if not any(map(path.is_relative_to, (folder, Path("/usr/share/instructlab")))):
        raise failure(f"{pipeline} names {named}", f"it is outside {folder}", "copy it there, and name the copy")


def blocks_of(sdg_pipeline: str) -> Iterator[tuple[str, str]]:
    """(model, format) that each block of an SDG pipeline names, "" for none: the library's pipelines name none."""
    import yaml

    folder = Path(sdg_pipeline)
    if not (folder.is_absolute() and folder.is_dir()):
        yield "", ""
        yield from ((name, "") for name in ADAPTERS if sdg_pipeline.rstrip("/") == AGENTIC)
        return
    if not (folder / QUESTIONS).exists():
        yield "", ""
    for path in (folder / name for name in (*PIPELINES, QUESTIONS)):
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        for named in named_files(content):
            confine(path, named)
        for block in (content or {}).get("blocks") or []:
            config = block.get("config") or {}
            kind = f"{block.get('type')} {config.get('block_type')}"
            if "LLM" in kind:
                model = (config.get("gen_kwargs") or {}).get("model") or config.get("model_id") or ""
                family = OWN if config.get("model_prompt") is not None else config.get("model_family") or ""
                yield model, CHAT if "LLMMessagesBlock" in kind else family
