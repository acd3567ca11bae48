"""Small archives as a user would make them, whole or broken, for the tests of import and publication."""

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path


def weights(data: bytes) -> bytes:
    """A safetensors file of one byte tensor."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}).encode()
    return len(header).to_bytes(8, "little") + header + data


MODEL = {
    "model/config.json": b"{}",
    "model/tokenizer.json": b"{}",
    "model/tokenizer_config.json": b"{}",
    "model/model.safetensors": weights(b"weights"),
}


def skill_leaf(examples: int = 5) -> bytes:
    """A valid qna.yaml of a skill."""
    lines = [f"  - question: What is {i} plus {i}?\n    answer: It is {2 * i}.\n" for i in range(examples)]
    return f"version: 3\ncreated_by: me\ntask_description: to add\nseed_examples:\n{''.join(lines)}".encode()


def knowledge_leaf(repo: Path | str, commit: str, *patterns: str) -> bytes:
    """A valid qna.yaml of knowledge, with the documents that match the patterns."""
    text = "version: 3\ncreated_by: me\ndomain: towns\ndocument_outline: A town\nseed_examples:\n"
    for i in range(5):
        text += f"  - context: Tower {i} is {i} metres high.\n    questions_and_answers:\n"
        for way in ("high", "tall", "low"):
            text += f"      - question: How {way} is tower {i}?\n        answer: It is {i} metres high.\n"
    text += f"document:\n  repo: {repo}\n  commit: '{commit}'\n  patterns:\n"
    return (text + "".join(f"    - '{pattern}'\n" for pattern in patterns)).encode()


TAXONOMY = {
    "taxonomy/knowledge/README.md": b"Nothing yet.\n",
    "taxonomy/compositional_skills/writing/qna.yaml": skill_leaf(),
}
TURNS = [{"role": "user", "content": "What is red?"}, {"role": "assistant", "content": "A colour."}]
ROW = json.dumps({"messages": TURNS}).encode() + b"\n"
DATA = {
    "data/skills_recipe_1.yaml": b"{}",
    "data/knowledge_recipe_1.yaml": b"{}",
    "data/skills_train_msgs_1.jsonl": ROW,
    "data/knowledge_train_msgs_1.jsonl": ROW,
}


def targz(files: Mapping[str, bytes], special: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """A gzip tar of these files, followed by special members (devices, links) as they are."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in special:
            tar.addfile(info)
    return packed.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write the files under the folder; returns the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
