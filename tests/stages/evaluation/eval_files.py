"""Task files of the lm-evaluation-harness, as a user writes them."""

import json
from pathlib import Path
from typing import Any

import yaml

TASK: dict[str, Any] = {
    "task": "tea",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "questions.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
    ],
}
WRITING: dict[str, Any] = {
    **{name: TASK[name] for name in ("dataset_path", "dataset_kwargs", "test_split", "doc_to_text")},
    "task": "writing",
    "output_type": "generate_until",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    "doc_to_target": "{{choices[answer]}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
PERPLEXITY: dict[str, Any] = {
    **{name: TASK[name] for name in ("dataset_path", "dataset_kwargs", "test_split")},
    "task": "text",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{question}}",
    "metric_list": [{"metric": "word_perplexity", "higher_is_better": False}],
}


def write_folder(folder: Path, **files: dict[str, Any]) -> Path:
    """A folder of tasks, each file by its name without .yaml, with eight questions."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    rows = [
        {"question": f"What is {i} + 1?", "choices": [str(i + 1), "a river", "no"], "answer": i % 3} for i in range(8)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
