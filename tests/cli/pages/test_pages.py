"""Pages of `compare` and `judges`: what they say, no markup from foreign text, nothing loaded, charts with a name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.judged.test_others import secret, serving, strict
from tests.cli.judged.test_people import rate, scores
from tests.stages.report.example_run import full_run, held_back_run
from tests.stages.report.test_page import ATTACK, Elements, hostile
from utils.cli.main import main
from utils.cli.pages.page import Bar, scaled
from utils.stages.report.facts import report_facts


def call(*words: object) -> Result:
    return CliRunner().invoke(main, list(map(str, words)))


def two_runs(folder: Path) -> list[Path]:
    """Reports of two runs that differ in the candidate, a parameter and a version."""
    paths = []
    for name, build in (("first", full_run), ("second", held_back_run)):
        facts = json.dumps(report_facts(str(build(folder / name)), name, []))
        (folder / f"{name}.json").write_text(facts if name == "first" else facts.replace('"seed": 42', '"seed": 7'))
        paths.append(folder / f"{name}.json")
    return paths


def compared(folder: Path, *words: object) -> str:
    done = call("compare", *two_runs(folder), "--home", folder, "--page", folder / "page.html", *words)
    assert done.exit_code == 0, done.output
    assert f"page: {folder / 'page.html'}" in done.output
    return (folder / "page.html").read_text()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compared(tmp_path_factory.mktemp("compare"))


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of people and of another judge."""
    folder = tmp_path_factory.mktemp("judges")
    facts = {"run_id": "r1", "headline": "h", "fate": "f", "done": {}, "comparisons": [], "scores": scores()}
    (folder / "report.json").write_text(json.dumps(facts))
    call("sample", folder, folder / "rate.csv")
    rate(folder / "rate.csv")
    with serving(strict) as server:
        own = ["--judge", secret(folder / "s", server.url, "granite-judge"), "--ratings", folder / "rate.csv"]
        done = call("judges", folder, "--home", folder, "--page", folder / "page.html", *own)
    assert done.exit_code == 0, done.output
    return (folder / "page.html").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "The candidate of second is not distinguishable from that of first on Likelihood, MMLU-branch and MT-Bench-br",
        "judge's rating, 1 to 10; questions of the taxonomy",
        "Likelihood by leaf",
        "train_phase_2.seed",
        "no answer differs",
        "at 95 %",
        "The gate rejected it",
    ],
)
def test_comparison_says(text: str, comparison: str) -> None:
    assert text in re.sub(r"\s+", " ", Elements(comparison).text)


@pytest.mark.parametrize(
    "text",
    [
        "Corrected by people, the candidate is not distinguishable from the base model on MT-Bench-branch",
        "People rated 50 answers, all answers of 25 of 60 questions",
        "+2.00",
        "MT-Bench-branch: 2 judges",
        "granite-judge",
        "By rank it is",
    ],
)
def test_page_of_judges_says(text: str, check: str) -> None:
    assert text in re.sub(r"\s+", " ", Elements(check).text)


@pytest.mark.parametrize("page", ["comparison", "check"])
def test_page_loads_nothing_and_names_its_charts(page: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(page)
    found = Elements(text)
    assert not {"script", "img", "link", "iframe"} & {*found.tags}
    assert not [value for name, value in found.attributes if name in ("src", "href", "onerror")]
    assert (
        found.tags.count("svg") == text.count('role="img"') == len(re.findall(r"<svg[^>]*><title>[^<]+</title>", text))
    )
    assert found.tags.count("svg") > 0 and found.tags.count("h1") == 1 and ("lang", "en") in found.attributes
    sizes = [float(size) for size in re.findall(r"text \{ font-size: ([\d.]+)px", text)]
    assert sizes and min(sizes) >= 11, "on a phone the chart is as wide as the page, and at least at its natural size"


def test_text_of_others_is_no_markup(tmp_path: Path) -> None:
    for path in two_runs(tmp_path):
        facts = hostile(json.loads(path.read_text()))
        facts["done"]["train_phase_2"]["inputs"][ATTACK] = path.stem
        path.write_text(json.dumps({**facts, "run_id": path.stem + ATTACK}))
    done = call("compare", tmp_path / "first.json", tmp_path / "second.json", "--page", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    found = Elements((tmp_path / "page.html").read_text())
    assert not {"script", "img"} & {*found.tags} and "alert(1)" in found.text


def test_page_is_opened_and_has_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: not opened.append(url))  # type: ignore[func-returns-value]
    done = call("compare", *two_runs(tmp_path), "--home", tmp_path / "home", "--open", "-o", "json")
    page = tmp_path / "home/pages/compare-first-second.html"
    assert json.loads(done.output)["page"] == str(page) and opened == [page.as_uri()]


@pytest.mark.parametrize(
    ("bars", "half", "places"),
    [
        ([Bar("a", 0.5, 0.0, 1.0)], 1.0, [(280.0, 228.0, 332.0)]),
        ([Bar("a", 2.0, None, None)], 1.0, [(332.0, None, None)]),
        ([Bar("a", 0.0, None, None)], None, [(228.0, None, None)]),
        (
            [Bar("a", 0.1, -0.1, 0.3), Bar("b", -100.0, -200.0, 0.0)],
            None,
            [(259.5, 196.5, 322.5), (180.7, 133.5, 228.0)],
        ),
    ],
    ids=["on the scale", "beyond it", "nothing", "each its own"],
)
def test_bars_are_where_their_values_are(bars: list[Bar], half: float | None, places: list[Any]) -> None:
    rows = scaled(bars, 0.0, half)["rows"]
    assert [(row["value"], row["low"], row["high"]) for row in rows] == places
