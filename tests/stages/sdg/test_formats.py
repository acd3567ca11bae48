"""In which format a teacher is asked, from its names, what its server lists, and what an SDG pipeline says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from utils.files import ROOT
from utils.stages.reasoning import without_reasoning
from utils.stages.sdg.formats import ADAPTERS, AGENTIC, CHAT, OWN, PIPELINES, Formats, blocks_of, cards_of, path_of


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("mixtral", "mixtral"),
        ("mixtral-8x7b-instruct-v0-1", "mixtral"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral"),
        ("TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ", "mixtral"),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", CHAT),
        ("cognitivecomputations/dolphin-2.5-mixtral-8x7b", CHAT),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral"),
        ("mistralai/Mistral-7B-Instruct-v0.3", CHAT),
        ("mistralai/Mistral-Small-24B-Instruct-2501", CHAT),
        ("mistral", CHAT),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama"),
        ("llama-3-1-8b-instruct", "llama"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", CHAT),
        ("meta-llama/Llama-2-70b-chat-hf", CHAT),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", CHAT),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", CHAT),
        ("llama", CHAT),
        ("instructlab/granite-7b-lab", "granite"),
        ("granite", CHAT),
        ("ibm-granite/granite-3.1-8b-instruct", CHAT),
        ("instructlab/merlinite-7b-lab", "merlinite"),
        ("Qwen/Qwen3-32B", CHAT),
        ("openai/gpt-oss-120b", CHAT),
        ("teacher", CHAT),
        ("/mnt/models", CHAT),
    ],
)
def test_auto_takes_a_family_only_when_the_name_is_certain(name: str, family: str) -> None:
    """Trap 45c: the first word of the name decided, and merlinite's format was taken for all others."""
    assert Formats("auto", name, {}).of(name)[0] == family


HUB = "/cache/hub/models--mistralai--Mixtral-8x7B-Instruct-v0.1/snapshots/41bd4c9e7e4fb318ca40e721131d4933966c2cc1"


@pytest.mark.parametrize(
    ("name", "root", "family"),
    [
        ("teacher", "/mnt/models", CHAT),
        ("mixtral", "/mnt/models", "mixtral"),
        ("mixtral", "mixtral", "mixtral"),
        ("teacher", "/models/mixtral-8x7b-instruct-v0-1", "mixtral"),
        ("teacher", "/models/mixtral-8x7b-instruct-v0-1/1/", "mixtral"),
        ("teacher", HUB, "mixtral"),
        ("mixtral", "/models/Qwen3-32B", CHAT),
        ("mixtral", "/models/mixtral/gpt-oss-120b", CHAT),
        ("mixtral", None, "mixtral"),
        ("mixtral", {"a": []}, "mixtral"),
    ],
)
def test_what_the_server_lists_counts_more_than_the_name(name: str, root: Any, family: str) -> None:
    listing = {"data": [{"id": name, "root": root}, {"id": "other", "root": "/models/merlinite-7b"}, "nonsense"]}
    assert Formats("auto", name, cards_of(listing)).of(name)[0] == family


@pytest.mark.parametrize("listing", [None, [], "text", {"data": None}, {"data": {"id": 1}}, {"error": "no"}])
def test_server_without_a_list_says_nothing(listing: Any) -> None:
    assert cards_of(listing) == {}


@pytest.mark.parametrize(
    ("cards", "family"),
    [
        ([], "mixtral"),
        ([{"id": "classifier-v3", "root": "/mnt/models/skills", "parent": "mixtral"}], "mixtral"),
        ([{"id": "classifier-v3", "root": "mixtral"}], "mixtral"),
        ([{"id": "classifier-v3", "root": "/models/Qwen3-8B", "parent": None}], CHAT),
        ([{"id": "mixtral", "root": "/models/Qwen3-8B"}, {"id": "classifier-v3", "parent": "mixtral"}], CHAT),
    ],
)
def test_adapter_has_the_format_of_the_model_below_it(cards: list[dict[str, Any]], family: str) -> None:
    assert Formats("auto", "mixtral", cards_of({"data": cards})).of("classifier-v3")[0] == family


@pytest.mark.parametrize("family", ["chat", "granite", "blank"])
def test_a_family_that_was_set_holds_for_every_name(family: str) -> None:
    formats = Formats(family, "mixtral", cards_of({"data": [{"id": "mixtral", "root": "/models/Qwen3"}]}))
    assert {formats.of(name) for name in ("mixtral", "other")} == {(family, "sdg_teacher_family")}


def test_what_blocks_name_is_found_in_every_file(tmp_path: Path) -> None:
    blocks = [
        {"type": "LLMBlock", "config": {"gen_kwargs": {"model": "a"}, "model_id": "b", "model_family": "llama"}},
        {"type": "LLMBlock", "config": {"model_id": "b", "model_prompt": ""}},
        {"type": "IterBlock", "config": {"block_type": "LLMBlock", "model_id": "c", "gen_kwargs": None}},
        {"type": "LLMMessagesBlock", "config": {"model_id": "d"}},
        {"type": "FilterByValueBlock", "config": {"model_id": "none"}},
        {"type": "FlattenColumnsBlock"},
    ]
    for number, name in enumerate(PIPELINES):
        (tmp_path / name).write_text(yaml.safe_dump({"version": "1.0", "blocks": blocks[2 * number : 2 * number + 2]}))
    named = {("a", "llama"), ("b", OWN), ("c", ""), ("d", CHAT)}
    assert {*blocks_of(str(tmp_path))} == {*named, ("", "")}  # the library asks the teacher for questions
    (tmp_path / "mmlu_bench.yaml").write_text("version: '1.0'\nblocks: []\n")
    assert {*blocks_of(str(tmp_path))} == named


def test_pipelines_that_can_not_be_read_here(tmp_path: Path) -> None:
    assert {*blocks_of("simple")} == {*blocks_of("/volume/pipeline")} == {("", "")}
    assert {*blocks_of(AGENTIC)} == {("", ""), *((name, "") for name in ADAPTERS)}


def test_example_pipeline_brings_its_own_format() -> None:
    requests = Formats("auto", "teacher", {}).requests(str(ROOT / "examples" / "sdg-pipeline"))
    assert requests == {("teacher", OWN): "a block says so"}
    assert {path_of(family) for _, family in requests} == {"completions"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain [[7]] ", "plain [[7]]"),
        ("<think>\nMaybe [[3]]\n</think>\n\nanswer", "answer"),
        ("Maybe [[3]]\n</think>\n\nanswer", "answer"),
        ("<think>one</think>two<think>three</think>four", "four"),
        ("<think>\nMaybe, and then it was cut", ""),
        ("<seed:think>hm</seed:think>answer", "answer"),
        ("[THINK]hm[/THINK]answer", "answer"),
        ("<thought>hm</thought>answer", "answer"),
        ("◁think▷hm◁/think▷answer", "answer"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>answer", "answer"),
        ("<|channel|>analysis<|message|>hm", ""),
        ("I think <b>so</b>", "I think <b>so</b>"),
        ("", ""),
    ],
)
def test_reasoning_is_left_out(text: str, said: str) -> None:
    assert without_reasoning(text) == said


@pytest.mark.parametrize(
    ("config", "inside"),
    [
        ({"config_path": "prompts/a.yaml"}, True),
        ({"config_path": "./prompts/../prompts/a.yaml"}, True),
        ({"config_path": "/usr/share/instructlab/sdg/configs/a.yaml"}, True),
        ({"config_paths": [["a.yaml", "All"], ["b.yaml", "question"]]}, True),
        ({"config_path": "/secrets/teacher/api_token"}, False),
        ({"config_path": "../secret.yaml"}, False),
        ({"config_path": "link.yaml"}, False),
        ({"config_path": "/usr/share/instructlab/../../../etc/passwd"}, False),
        ({"config_paths": ["a.yaml", "/proc/self/environ"], "column_name": "x"}, False),
        ({"config_paths": [["a.yaml", "one"], ["../../x", "two"]]}, False),
        ({"block_type": "LLMBlock", "block_kwargs": {"config_path": "/etc/passwd"}}, False),
    ],
)
def test_sdg_pipeline_names_no_file_outside_its_folder(config: dict[str, Any], inside: bool, tmp_path: Path) -> None:
    """SamplePopulatorBlock puts a file's content into each sample, an LLMBlock into each request to the teacher."""
    folder = tmp_path / "pipeline"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_text("system: token")
    (folder / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    for name in PIPELINES:
        (folder / name).write_text("blocks: []\n")
    block = {"name": "b", "type": "SamplePopulatorBlock", "config": config}
    (folder / PIPELINES[1]).write_text(yaml.safe_dump({"version": "1.0", "blocks": [block]}))
    if inside:
        assert [*blocks_of(str(folder))]
    else:
        with pytest.raises(SystemExit, match=r"freeform_skills.yaml names .*\n  cause: it is outside"):
            [*blocks_of(str(folder))]
