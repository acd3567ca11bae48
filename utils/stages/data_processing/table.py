"""What became of the samples of each taxonomy leaf: for the log, for the report, and whether that will do."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from utils.messages import failure
from utils.stages.data_processing.checks import REASONS, Dropped, said_in
from utils.stages.data_processing.held_out import Sample
from utils.stages.data_processing.limits import Limits

KEPT, HELD_OUT = "kept", "held_out_question"
"""What a row is counted as that is not dropped."""
SHOWN, LONGEST = 3, 300
"""Samples per leaf and reason that are kept to be looked at; letters of each."""


@dataclass
class Table:
    """Rows of the training files.

    Attributes:
        leaves: by leaf ("" for those of none), and by what became of them: KEPT, HELD_OUT, or one of REASONS.
        rows: by kind, without those whose question is held out.
        examples: some that were dropped, for people.
    """

    leaves: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    rows: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, str]] = field(default_factory=list)

    def count(self, kind: str, sample: Sample, outcome: Dropped) -> None:
        """A row has this outcome."""
        counts = self.leaves[sample.leaf]
        self.rows[kind] += outcome.reason != HELD_OUT
        counts[outcome.reason] += 1
        if outcome.reason in REASONS and counts[outcome.reason] <= SHOWN:
            said = said_in(sample)
            texts = {"question": said.asked, "answer": said.answered, "because": outcome.because}
            about = {"leaf": sample.leaf, "reason": outcome.reason}
            self.examples.append(about | {name: text[:LONGEST] for name, text in texts.items()})

    def move(self, leaf: str, reason: str) -> None:
        """A row of a leaf that was counted as kept is dropped after all."""
        self.leaves[leaf][KEPT] -= 1
        self.leaves[leaf][reason] += 1

    def dropped(self) -> dict[str, int]:
        """Rows by reason, in the order of REASONS; 0 for none."""
        return {reason: sum(counts[reason] for counts in self.leaves.values()) for reason in REASONS}

    def facts(self, compared: list[str], limits: Limits) -> dict[str, Any]:
        """What processed/checks.json holds.

        Args:
            compared: what the samples were compared with, lines for people.
        """
        rows = [
            {
                "leaf": leaf,
                "kept": counts[KEPT],
                "held_out": counts[HELD_OUT],
                "dropped": {reason: counts[reason] for reason in REASONS if counts[reason]},
            }
            for leaf, counts in sorted(self.leaves.items())
        ]
        return {
            "leaves": rows,
            "reasons": {reason: text for reason, text in REASONS.items() if self.dropped()[reason]},
            "compared": compared,
            "limits": vars(limits),
            "examples": self.examples,
        }


def log_lines(facts: dict[str, Any]) -> list[str]:
    """The table for the log."""
    lines = [*facts["compared"], f"{'kept':>8} {'held out':>8} {'dropped':>8}  taxonomy leaf"]
    for row in facts["leaves"]:
        reasons = "".join(f"; {reason} {count}" for reason, count in row["dropped"].items())
        numbers = row["kept"], row["held_out"], sum(row["dropped"].values())
        lines.append(" ".join(f"{number:8}" for number in numbers) + f"  {row['leaf'] or '(no leaf)'}{reasons}")
    return lines + [f"  {reason}: {text}" for reason, text in facts["reasons"].items()]


def require_enough(facts: dict[str, Any], most: float, place: str) -> None:
    """Nothing disappears in silence.

    Samples of no leaf, such as precomputed ones, count only where there are no others. What a reviewer rejected is no
    loss.

    Args:
        most: share of a leaf's samples that may be dropped, 0 to 1.
        place: where the table is, for people.

    Raises:
        SystemExit: a leaf lost more, or all.
    """
    rows = [row for row in facts["leaves"] if row["leaf"]] or facts["leaves"]
    lost = []
    for row in rows:
        rejected = row["dropped"].get("review", 0)
        kept, dropped = row["kept"] + rejected, sum(row["dropped"].values()) - rejected
        if dropped and (not kept or dropped > most * (kept + dropped)):
            reasons = ", ".join(f"{reason} {count}" for reason, count in row["dropped"].items())
            lost.append(f"{row['leaf'] or 'all samples'}: {dropped} of {kept + dropped} ({reasons})")
    if lost:
        raise failure(
            f"too many samples of {len(lost)} of {len(rows)} taxonomy leaves were dropped, before training",
            f"more than max_dropped ({most:.0%}) or all: {'; '.join(lost[:10])}",
            f"look at the samples in {place}; then start a new run with another teacher or seed examples, or with "
            f"other limits in sdg_checks ({', '.join(vars(Limits()))}). With this volume's sdg/ in its archive, "
            "nothing is generated again",
        )
