"""The demo's table of scores, as a terminal of 80 columns shows it."""

import io

from rich.console import Console

from utils.cli.score_table import score_table

NONE = {"low": None, "high": None, "said": "", "reason": "", "digits": 2}
SCORES = [
    {**NONE, "name": "Likelihood", "base": 2.643, "candidate": 1.603, "change": -1.04, "low": -1.862, "high": -0.147,
     "said": "better", "digits": 3},
    {**NONE, "name": "MT-Bench-branch", "base": 5.0, "candidate": 5.0, "change": 0.0,
     "said": "not distinguishable: at least 14000 questions needed"},
    {**NONE, "name": "MMLU", "base": None, "candidate": None, "change": None, "reason": "not run"},
    {**NONE, "name": "MT-Bench", "base": None, "candidate": None, "change": None,
     "reason": "uninformative: the judge rated all 8 answers 5"},
]  # fmt: skip


def test_no_name_number_or_word_is_cut_at_80_columns() -> None:
    screen = io.StringIO()
    headline = "The candidate is better than the base model on Likelihood; not distinguishable on MT-Bench-branch"
    Console(file=screen, width=80).print(score_table({"headline": headline, "seconds": 522, "scores": SCORES}))
    shown = screen.getvalue()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80
    for text in ("MT-Bench-branch", "not distinguishable", "-1.862 to -0.147", "-1.040", "not run", "(8m42s)"):
        assert text in shown
