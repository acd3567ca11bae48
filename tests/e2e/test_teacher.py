"""In which format instructlab-sdg asks a teacher, and which models: what a recording server was sent."""

import json
from typing import Any

import pytest

from tests.e2e.stages import in_stages
from utils.stages.sdg.formats import ADAPTERS

SKILLS, KNOWLEDGE = ADAPTERS
TEXT = "Say\n\n\nWrite a short notice"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(json.loads(in_stages("tests/e2e/run_teacher.py", str(tmp_path_factory.mktemp("teacher")))))


def prompts(case: dict[str, Any], **wanted: Any) -> list[str]:
    """All prompts of requests that have these values."""
    asked = [one for one in case["asked"] if one.items() >= wanted.items() and one.get("max_tokens") != 1]
    found: list[str] = []
    for one in asked:
        found += [one["messages"][0]["content"]] if "messages" in one else one["prompt"]
    return found


@pytest.mark.parametrize(
    ("family", "start", "end"),
    [
        ("mixtral", "<s> [INST] You are", "[/INST]"),
        ("mistral", "<s> [INST] You are", "[/INST]"),
        ("llama", "<|begin_of_text|><|start_header_id|>system", "<|start_header_id|>assistant<|end_header_id|>"),
        ("granite", "<|user|>\nYou are", "<|assistant|>"),
        ("merlinite", "<|user|>\nYou are", "<|assistant|>"),
        ("blank", "You are", "examples."),
        ("chat", "You are", "examples."),
    ],
)
def test_teacher_is_asked_in_the_format_of_its_family(seen: dict[str, Any], family: str, start: str, end: str) -> None:
    """Trap 45c: a Mixtral that was served as `teacher` was asked in merlinite's format."""
    case = seen[family]
    assert len(prompts(case, path="/v1/chat/completions" if family == "chat" else "/v1/completions")) == 5
    assert {(one["model"], one["n"]) for one in case["asked"]} == {("teacher", 3)}
    for prompt in prompts(case):
        assert prompt.startswith(start)
        assert prompt.endswith(end)
    assert len(case["outputs"]) == 15
    assert case["result"]["teacher_formats"] == [f"teacher is asked in format {family}: sdg_teacher_family"]


@pytest.mark.parametrize(
    ("case", "family", "why"),
    [
        ("certain name", "mixtral", "its name is mixtral-8x7b-instruct-v0-1"),
        ("certain root", "mixtral", "its root is /models/Mixtral-8x7B-Instruct-v0.1"),
        ("other root", "chat", "its root is /models/Qwen3-32B"),
        ("unknown", "chat", "no name says its family"),
    ],
)
def test_auto_takes_what_name_or_root_says_for_certain(seen: dict[str, Any], case: str, family: str, why: str) -> None:
    (line,) = seen[case]["result"]["teacher_formats"]
    assert line.endswith(f"is asked in format {family}: {why}")
    assert all(prompt.startswith("<s> [INST]") == (family == "mixtral") for prompt in prompts(seen[case]))


def test_chats_are_one_per_prompt_without_trying_plain_completions(seen: dict[str, Any]) -> None:
    assert seen["chat"]["tries"] == 5
    assert {one["path"] for one in seen["chat"]["asked"]} == {"/v1/chat/completions"}


def test_answers_of_chats_are_paired_with_their_prompts_and_have_no_reasoning(seen: dict[str, Any]) -> None:
    texts = {f"What? chat {number} of {prompt}" for prompt in prompts(seen["chat"]) for number in range(3)}
    assert set(seen["chat"]["outputs"]) == texts


@pytest.mark.parametrize("case", ["ignores n", "refuses n"])
def test_server_without_n_is_asked_once_per_answer(seen: dict[str, Any], case: str) -> None:
    """All answers of this server are alike, so the duplicates are dropped."""
    answered = [one for one in seen[case]["asked"] if case == "ignores n" or "n" not in one]
    assert len(answered) == 15
    assert len(seen[case]["outputs"]) == 5


@pytest.mark.parametrize(
    ("run", "template"),
    [("several auto", "<s> [INST] {} [/INST]"), ("several chat", "{}")],
)
def test_what_a_block_names_counts_more_than_the_runs_teacher(seen: dict[str, Any], run: str, template: str) -> None:
    """Trap 45c: the run's model id overrode that of the blocks. The adapters are those of the guide's teacher."""
    case = seen[run]
    path = "/v1/completions" if "auto" in run else "/v1/chat/completions"
    begin, end = template.split("{}")

    def in_format(found: list[str]) -> bool:
        return all(prompt.startswith(begin + TEXT) and prompt.endswith(end) for prompt in found)

    router = [one for one in case["asked"] if one["model"] == SKILLS and "allowed_token_ids" in one]
    assert {one["path"] for one in router} == {path}
    assert len(prompts(case, model=SKILLS)) == 0
    adapter = prompts(case, model=KNOWLEDGE, path=path)
    assert len([prompt for prompt in adapter if in_format([prompt])]) == 5
    merlinite = [p for p in prompts(case, model=KNOWLEDGE, path="/v1/completions") if p.startswith("<|user|>\n" + TEXT)]
    assert len(merlinite) == 5
    assert len(prompts(case, model=KNOWLEDGE)) == 10
    plain = prompts(case, model="mixtral", path="/v1/completions")
    own = prompts(case, model="mixtral", path="/v1/completions", n=2)
    assert [prompt[: len(TEXT) + 17] for prompt in own] == ["<|im_start|>user\n" + TEXT] * 5
    assert len([prompt for prompt in plain if prompt.startswith(TEXT)]) == 10  # bare, for each answer of `own`
    iterated = [p for p in prompts(case, model="mixtral", path=path) if in_format([p])]
    assert len(iterated) >= 20


def test_log_and_report_say_each_format_and_why(seen: dict[str, Any]) -> None:
    assert seen["several auto"]["result"]["teacher_formats"] == [
        "mixtral is asked in format mixtral: its name is mixtral",
        "mixtral is asked in format the SDG pipeline's own: a block says so",
        f"{SKILLS} is asked in format mixtral: its name is mixtral",
        f"{KNOWLEDGE} is asked in format mixtral: its name is mixtral",
        f"{KNOWLEDGE} is asked in format merlinite: a block says so",
    ]


@pytest.mark.parametrize(("family", "start"), [("chat", TEXT), ("mixtral", "<s> [INST] " + TEXT)])
def test_conditional_block_is_asked_in_the_format_too(seen: dict[str, Any], family: str, start: str) -> None:
    """The library gives these prompts no format at all."""
    found = prompts(seen[f"conditional {family}"])
    assert len(found) == 5
    assert all(prompt.startswith(start) for prompt in found)


def test_model_that_is_not_served_is_found_before_the_first_sample(seen: dict[str, Any]) -> None:
    case = seen["not served"]
    assert f"failed on the model {KNOWLEDGE}, which the SDG pipeline names" in case["failure"]
    assert [one["model"] for one in case["asked"]] == [SKILLS, KNOWLEDGE]
