"""Data processing with a stand-in for instructlab.training: what the library does wrong or refuses."""

import importlib.util
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from utils.stages.data_processing.tokenizing import kept_rows, left_out_rows, tokenize_rows, try_tokenizing
from utils.stages.marker import write_marker
from utils.stages.results import ChatTemplate, DataCounts, Imported


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Callable[[Any], None]], None]:
    """Puts a function in the place of data_process.main (0.10.3 to 0.16.2: it takes a DataProcessArgs)."""
    broken = tmp_path / "installed" / "deepspeed"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('0 active drivers ([]). There should only be one.')")
    monkeypatch.syspath_prepend(str(broken.parent))
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    monkeypatch.delitem(sys.modules, "deepspeed")

    def install(main: Callable[[Any], None], refuses: str = "") -> None:
        def load(model: str, *template: str | None) -> None:
            assert not refuses, refuses

        for name in ("instructlab", "instructlab.training"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        transformers = SimpleNamespace(AutoConfig=SimpleNamespace(from_pretrained=load))
        monkeypatch.setitem(sys.modules, "transformers", transformers)
        tokenizers = SimpleNamespace(setup_tokenizer=load)
        monkeypatch.setitem(sys.modules, "instructlab.training.tokenizer_utils", tokenizers)
        config = SimpleNamespace(DataProcessArgs=lambda **given: SimpleNamespace(**given))
        monkeypatch.setitem(sys.modules, "instructlab.training.config", config)
        process = SimpleNamespace(main=main)
        monkeypatch.setattr(sys.modules["instructlab.training"], "data_process", process, raising=False)

    return install


def written(labels: list[int], seen: list[Any]) -> Callable[[Any], None]:
    def main(given: Any) -> None:
        if importlib.util.find_spec("deepspeed"):  # as transformers asks (4.51.3, utils/import_utils.py)
            importlib.import_module("deepspeed")
        seen.append(given)
        Path(given.data_output_path).mkdir(exist_ok=True)
        row = {"input_ids": [1] * len(labels), "labels": labels, "len": len(labels)}
        Path(given.data_output_path, "data.jsonl").write_text(json.dumps(row) + "\n")

    return main


def rows(tmp_path: Path) -> tuple[Path, Path, str]:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    return tmp_path / "rows.jsonl", tmp_path / "skills", str(tmp_path)


def test_installed_deepspeed_that_needs_a_gpu_is_ignored(library: Callable[..., None], tmp_path: Path) -> None:
    """With Triton 3.2, DeepSpeed up to 0.16.3 can't be imported without a GPU, and DS_ACCELERATOR=cpu does not help."""
    seen: list[Any] = []
    library(written([-100, 5, 6], seen))
    assert tokenize_rows(*rows(tmp_path), 100).rows == 1
    assert seen[0].chat_tmpl_path is None


def test_a_template_whose_assistant_marks_are_not_found_fails(library: Callable[..., None], tmp_path: Path) -> None:
    library(written([-100, -100], []))
    with pytest.raises(SystemExit, match=r"the skills data can't be trained on\n.*no token to learn"):
        tokenize_rows(*rows(tmp_path), 100)


def test_model_that_training_would_refuse_is_reported_before_any_row(
    library: Callable[..., None], tmp_path: Path
) -> None:
    """Training's setup_tokenizer asserts that there is an end-of-text token; data processing does not (0.10.3)."""
    seen: list[Any] = []
    library(written([-100, 5], seen), refuses="provided chat template doesn't have an EOS token")
    with pytest.raises(SystemExit, match=r"(?s)model can't be trained.*AssertionError.*EOS token.*train_chat_template"):
        tokenize_rows(*rows(tmp_path), 100)
    assert not seen


def test_one_conversation_is_tried_with_the_template_of_the_run(library: Callable[..., None], tmp_path: Path) -> None:
    seen: list[Any] = []
    library(written([-100, 5], seen))
    choice = ChatTemplate("model/chat.py", sha256="1")
    write_marker(str(tmp_path), "data_import", {}, [], Imported(chat_template=choice), 0)
    try_tokenizing(str(tmp_path))
    assert seen[0].chat_tmpl_path == f"{tmp_path}/chat_template/template.py"
    assert seen[0].model_path == f"{tmp_path}/model"


def test_rows_without_a_learnable_token_are_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first token is never predicted: its label is nothing to learn."""
    labels = [[-100, 5, 6], [-100, -100], [5, -100, -100], [-100, -100, 7, -100]]
    lines = [json.dumps({"input_ids": [1] * len(one), "labels": one, "len": len(one)}) + "\n" for one in labels]
    (tmp_path / "data.jsonl").write_text("".join(lines))
    assert kept_rows(tmp_path, 6, 100) == DataCounts(rows=2, tokens=7, longest=4, dropped=4)
    assert (tmp_path / "data.jsonl").read_text() == lines[0] + lines[3]
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]
    assert f"{tmp_path.name}: 2 rows dropped that have no token to learn" in capsys.readouterr().out


class TemplateError(Exception):
    """As jinja2's: neither a ValueError nor a RuntimeError."""


@pytest.mark.parametrize("error", [TemplateError("System role not supported"), KeyError("messages"), OSError("no")])
def test_whatever_the_library_raises_is_named(library: Callable[..., None], tmp_path: Path, error: Exception) -> None:
    def main(given: Any) -> None:
        raise error

    library(main)
    with pytest.raises(SystemExit, match=f"the skills data can't be trained on\n.*{type(error).__name__}: "):
        tokenize_rows(*rows(tmp_path), 100)


def test_full_disk_is_not_told_as_a_fault_of_the_data(library: Callable[..., None], tmp_path: Path) -> None:
    def main(given: Any) -> None:
        raise OSError(28, "No space left on device")

    library(main)
    with pytest.raises(OSError, match="No space left"):
        tokenize_rows(*rows(tmp_path), 100)


@pytest.mark.parametrize("written", ["Cafe\u0301 au lait", "Stra\u00dfe", "Ｗｉｄｅ", " many   spaces\n"])
@pytest.mark.parametrize(
    "letters",
    [str, str.lower, lambda text: unicodedata.normalize("NFC", text), lambda text: unicodedata.normalize("NFKC", text)],
    ids=["as they are", "small", "composed", "compatible"],
)
def test_rows_that_the_library_left_out_are_found_whatever_letters_the_tokenizer_keeps(
    written: str, letters: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = SimpleNamespace(decode=lambda ids: "<|user|>" + letters("".join(map(chr, ids))))
    loads = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=lambda model: tokenizer))
    monkeypatch.setitem(sys.modules, "transformers", loads)
    texts = [f"{written} {number}" for number in range(5)]
    rows = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = [{"input_ids": [*map(ord, texts[number])]} for number in (0, 2, 3)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert left_out_rows(tmp_path / "rows.jsonl", tmp_path, str(tmp_path)) == [1, 4]
