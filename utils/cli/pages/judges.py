"""The page of `ilab-pipeline judges`."""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.cli.judged.panel import Panel
from utils.cli.judged.people import Checked
from utils.cli.pages.page import MARKS, Bar, page, scaled
from utils.stages.report.text import listed, number

_MIDDLE, _REACH = 5.5, 4.5
"""Of the scale of ratings, 1 to 10."""


def judges_page(facts: Mapping[str, Any]) -> str:
    """HTML. facts: run_id, judge, confidence, warnings; people, a list of Checked; panels, a list of Panel."""
    people: Sequence[Checked] = facts["people"]
    found: Sequence[Panel] = facts["panels"]
    values = {
        **facts,
        "headline": headline(people, found),
        "marks": MARKS,
        "charts": {one.measure: _people_chart(one) for one in people},
        "panel_charts": {one.measure: _panel_chart(one) for one in found},
    }
    return page("judges", values)


def headline(people: Sequence[Checked], found: Sequence[Panel]) -> str:
    """What people and judges say, in a sentence or two without the last stop."""
    said = []
    for one in people:
        if word := one.said.partition(": ")[0]:
            than = "from" if word.startswith("not") else "than"
            said.append(f"Corrected by people, the candidate is {word} {than} the base model on {one.name}")
        elif (bias := one.scores["candidate"].bias.change) is not None:
            said.append(f"By people, the judge's ratings are {number(bias, 2, '+')} off on {one.name}")
    split = [one.name for one in found if len(one.words) > 1]
    if split:
        said.append(f"The judges do not agree on {listed(split)}")
    elif agreed := [f"{one.rows[0].difference.word} on {one.name}" for one in found if one.rows[0].difference]:
        said.append(f"{len(found[0].rows)} judges say the same of the candidate: {listed(agreed)}")
    return ". ".join(said) or f"{len(found[0].rows)} judges rated the candidate"


def _people_chart(one: Checked) -> dict[str, Any]:
    means = [(name, score.mean) for name, score in one.scores.items() if name != "change"]
    bars = [Bar(name, mean.estimate, mean.low, mean.high, mean.judge) for name, mean in means if mean.estimate]
    told = [
        f"{name}: people {_told(mean.estimate, mean.low, mean.high)}, judge {mean.judge:.2f}" for name, mean in means
    ]
    return {**scaled(bars, _MIDDLE, _REACH), "told": told}


def _panel_chart(one: Panel) -> dict[str, Any]:
    found = [(row.judge, row.difference) for row in one.rows if row.difference and row.difference.change is not None]
    bars = [Bar(name, of.change, of.low, of.high) for name, of in found if of.change is not None]
    reach = max((abs(end) for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None), default=1.0)
    told = [f"{name}: {_told(of.change, of.low, of.high)}, {of.said}" for name, of in found]
    return {**scaled(bars, 0.0, reach * 1.1 or 1.0), "told": told}


def _told(value: float | None, low: float | None, high: float | None) -> str:
    ends = f" ({low:.2f} to {high:.2f})" if low is not None and high is not None else ""
    return "not known" if value is None else f"{value:.2f}{ends}"
