"""The files that a run needs, and that foreign input never chooses where files are written."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.archives import DATA, MODEL, TAXONOMY, weights, write_files
from utils.stages.data_import.tree import fetch_model, missing_pieces, torn_weights
from utils.stages.object_store.client import ObjectStore

WHOLE = {**MODEL, **TAXONOMY, **DATA}


def test_a_whole_tree_lacks_nothing(tmp_path: Path) -> None:
    assert missing_pieces(write_files(tmp_path / "[a]", WHOLE), ["model", "taxonomy", "data"]) == []


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("model/config.json", "model/config.json"),
        ("model/tokenizer.json", "model/tokenizer.json"),
        ("model/tokenizer_config.json", "model/tokenizer_config.json"),
        ("model/model.safetensors", "model/*.safetensors"),
        ("taxonomy", "taxonomy/knowledge or taxonomy/compositional_skills or taxonomy/foundational_skills"),
        ("data/skills_recipe_1.yaml", "data/skills_recipe_*.yaml"),
        ("data/knowledge_recipe_1.yaml", "data/knowledge_recipe_*.yaml"),
        ("data/skills_train_msgs_1.jsonl", "data/skills_train_*.jsonl"),
        ("data/knowledge_train_msgs_1.jsonl", "data/knowledge_train_*.jsonl"),
    ],
)
def test_each_piece_that_is_missing_is_named(tmp_path: Path, gone: str, missing: list[str]) -> None:
    files = {name: content for name, content in WHOLE.items() if not name.startswith(gone)}
    assert missing_pieces(write_files(tmp_path, files), ["model", "taxonomy", "data"]) == [missing]


def test_foundational_skills_can_replace_compositional_skills(tmp_path: Path) -> None:
    write_files(tmp_path, {**DATA, "taxonomy/knowledge/a": b"", "taxonomy/foundational_skills/a": b""})
    assert missing_pieces(tmp_path, ["taxonomy", "data"]) == []


@pytest.mark.parametrize(
    ("leaf", "missing"),
    [
        ("compositional_skills/a/b/qna.yaml", []),
        ("knowledge/a/qna.yaml", []),
        ("foundational_skills/a/qna.yaml", ["taxonomy/knowledge/**/qna.yaml or "]),
        ("knowledge/a/attribution.txt", ["taxonomy/knowledge/**/qna.yaml or "]),
    ],
)
def test_taxonomy_for_generation_needs_a_leaf(tmp_path: Path, leaf: str, missing: list[str]) -> None:
    folders = {"taxonomy/knowledge/.keep": b"", "taxonomy/compositional_skills/.keep": b""}
    write_files(tmp_path, {**folders, f"taxonomy/{leaf}": b""})
    found = missing_pieces(tmp_path, ["taxonomy"])
    assert len(found) == len(missing) and all(map(str.startswith, found, missing))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (weights(b"12345678"), []),
        (weights(b""), []),
        (weights(b"12345678")[:-1], ["not a whole safetensors file"]),
        (weights(b"12345678") + b"x", ["not a whole safetensors file"]),
        (weights(b"12345678")[:20], ["not a whole safetensors file"]),
        (b"", ["0 bytes, not a whole safetensors file"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", ["a Git LFS pointer"]),
        (b"\x02" + bytes(7) + b"[]", ["not a whole safetensors file"]),
    ],
)
def test_truncated_weights_are_found_before_a_gpu_is_used(tmp_path: Path, content: bytes, told: str) -> None:
    write_files(tmp_path, {"model/model-1.safetensors": content})
    found = torn_weights(tmp_path)
    assert len(found) == len(told) and all(
        "model/model-1.safetensors" in f and t in f for f, t in zip(found, told, strict=True)
    )


def listing_store(client: SimpleNamespace) -> ObjectStore:
    """An object store that is asked through this client."""
    return type("ListingStore", (ObjectStore,), {"client": client})("b", "", "")


def test_a_long_listing_is_read_to_its_end(tmp_path: Path) -> None:
    pages = {
        "": {"Contents": [{"Key": "models/a", "Size": 1}], "NextContinuationToken": "more"},
        "more": {"Contents": [{"Key": "models/../evil", "Size": 1}]},
    }
    client = SimpleNamespace(list_objects_v2=lambda **asked: pages[asked.get("ContinuationToken", "")])
    with pytest.raises(SystemExit, match="leads out of the folder"):
        fetch_model("s3://bucket/models", listing_store(client), tmp_path / "model")


@pytest.mark.parametrize("key", ["models/../../evil", "models//etc/evil"])
def test_a_key_that_leads_out_of_the_model_folder_is_refused(tmp_path: Path, key: str) -> None:
    """Amazon S3 takes such keys; the S3 server of the tests does not, so the listing is given here."""
    listing = {"Contents": [{"Key": key, "Size": 1}]}
    client = SimpleNamespace(list_objects_v2=lambda **arguments: listing)
    with pytest.raises(SystemExit, match="leads out of the folder"):
        fetch_model("s3://bucket/models", listing_store(client), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
