"""What each stage leaves for later ones: the `result` of its marker (`done/<stage>.json`, utils/stages/marker.py).

A field that is added needs a default: markers of earlier versions do not have it.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatTemplate:
    """What conversations are written in.

    Attributes:
        name: tokenizer (its own), a template of the library's, or a file.
        why: reason for the choice, for people.
        sha256: of the template's text; "" until the library's template has been read.
        example: a conversation written in it, for people.
    """

    name: str = "tokenizer"
    why: str = ""
    sha256: str = ""
    example: str = ""


@dataclass(frozen=True)
class Imported:
    """Result of data import.

    Attributes:
        data_generated_elsewhere: the archive brought generated data.
        role_orders: the roles of the conversations in that data, in their order, each sequence once.
    """

    archive: str = ""
    sha256: str = ""
    size: int = 0
    check: str = ""
    model_source: str = "archive"
    taxonomy_commit: str = ""
    data_generated_elsewhere: bool = False
    chat_template: ChatTemplate = ChatTemplate()
    role_orders: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Generated:
    """Result of sdg.

    Attributes:
        generated: False where the archive brought the data; `reason` says so.
        knowledge_file: JSON lines of conversations below the volume's root; "" for none.
        skills_file: the same.
        mmlu_tasks_dir: folder of multiple-choice tasks below the volume's root; "" for none.
        samples_by_leaf: taxonomy leaf to its number of samples.
        tokens: tokens that the teacher wrote.
        teacher_formats: the format of each model that was asked, for people.
        held_out_seeds_file: questions of seed examples that the teacher did not see, JSON lines below the volume's
            root; "" for none.
    """

    generated: bool = True
    reason: str = ""
    knowledge_file: str = ""
    skills_file: str = ""
    mmlu_tasks_dir: str = ""
    samples: int = 0
    samples_by_leaf: dict[str, int] = field(default_factory=dict)
    mmlu_questions: int = 0
    tokens: int = 0
    teacher_formats: list[str] = field(default_factory=list)
    held_out_seeds_file: str = ""


@dataclass(frozen=True)
class DataCounts:
    """Of one data set: samples kept, tokens, tokens of the longest, samples dropped, questions held out."""

    rows: int = 0
    tokens: int = 0
    longest: int = 0
    dropped: int = 0
    held_out: int = 0


@dataclass(frozen=True)
class Processed:
    """Result of data processing; dropped: samples by reason, see utils/stages/data_processing/checks.py."""

    knowledge: DataCounts
    skills: DataCounts
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """Result of a training phase.

    Attributes:
        skipped: there was nothing to train on; `reason` says why.
        checkpoint: the last by number, a folder below the volume's root.
        checkpoints: all of them.
        device: cuda or cpu.
        loss: (step, loss), at most 500 points.
        estimated_gpu_hours: on H100, as estimated before it began; 0 where the model's size was not known.
        mirror: folder of its copies in the object store's bucket; "" for none.
    """

    phase: int
    launcher: str
    skipped: bool
    reason: str = ""
    device: str = "cpu"
    checkpoint: str = ""
    checkpoints: list[str] = field(default_factory=list)
    steps: int = 0
    samples: int = 0
    tokens: int = 0
    tokens_per_second: float = 0.0
    loss: list[tuple[int, float]] = field(default_factory=list)
    estimated_gpu_hours: float = 0.0
    mirror: str = ""


@dataclass(frozen=True)
class Audit:
    """What is known about the judge.

    Attributes:
        twice: number of judgments that were asked for twice, and rated both times.
        changed: those that had another rating the second time.
        by: mean difference of the two ratings, 0 to 9; None where none was asked for twice.
        turns: share of the conversations whose two answers' ratings differ by at most 1; None where there are none.
        uninformative: why the ratings say nothing, "" if they do; then there is no score, and the last checkpoint is
            the candidate.
        kinship: what the judge has in common with the teacher, "" for nothing that their names tell.
    """

    twice: int = 0
    changed: int = 0
    by: float | None = None
    turns: float | None = None
    uninformative: str = ""
    kinship: str = ""


@dataclass(frozen=True)
class Benchmarked:
    """Result of MT-Bench over the checkpoints.

    Attributes:
        candidate: folder below the volume's root.
        overall_score: its own.
        corrected_score: what to expect of it on other questions: the best of several is chosen by the score, which
            makes that too high. None where there is one question, or an earlier version chose.
    """

    candidate: str
    overall_score: float
    judge_model: str
    reason: str
    questions: int
    error_rate: float | None = None
    max_error_rate: float | None = None
    corrected_score: float | None = None
    audit: Audit = Audit()


@dataclass(frozen=True)
class Published:
    """Result of publish; gate: {"passed", "checks": [{"name", "value", "limit", "passed"}]}.

    Attributes:
        images: the pipeline's images by name; {} on one machine, where none is used.
    """

    published: bool
    gate: dict[str, Any]
    key: str = ""
    sha256: str = ""
    size: int = 0
    images: dict[str, str] = field(default_factory=dict)
