"""The page: its content, no markup from untrusted text, no external resources."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.stages.report.example_run import full_run
from utils.files import ROOT
from utils.stages.report.charts import bar_chart, line_chart
from utils.stages.report.facts import report_facts
from utils.stages.report.page import render
from utils.stages.report.text import ordered

ATTACK = "</style></svg><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{% raw %}$\\frac"


class Elements(HTMLParser):
    """Every element and attribute of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def hostile(value: Any) -> Any:
    """value with every text in it turned into an attack; names, paths of checkpoints and times stay readable."""
    if isinstance(value, dict):
        kept = ("candidate", "model", "finished", "phase")
        return {name: inner if name in kept else hostile(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return ATTACK if isinstance(value, str) else value


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = full_run(tmp_path_factory.mktemp("attack"))
    for path in folder.rglob("*.json"):
        content = hostile(json.loads(path.read_text()))
        if path.stem == "sdg":
            content["result"]["samples_by_leaf"][ATTACK] = 5
        path.write_text(json.dumps(content))
    return render(report_facts(str(folder), ATTACK, [ATTACK]))


@pytest.mark.parametrize(
    "text",
    [
        "The candidate is better than the base model on Likelihood and MMLU-branch; not distinguishable on MT-Bench-br",
        "not distinguishable about",
        "68 of 186",
        "at 95 %",
        "MT-Bench expected on other questions: 6.81.",
        "Likelihood by leaf",
        "Published",
        "2025-06-13_09-49-31.lumera.tar",
        "A small judge.",
        "2.297 1.304 −0.993",
        "samples_12150 candidate",
        "Judge: prometheus-8x7b-v2-0",
        "Asked twice for 40 ratings, the judge changed 5, by 0.20 on average.",
        "rated alike (within 1) in 84 %",
        "Warning: the judge prometheus-8x7b-v2-0 and the teacher mixtral are both of the family Mistral",
        "lumera/charter",
        "mmlu_pr_climate",
        "We regret to inform you",
        "Loss of phase 1",
        "470 steps, 60,160 samples, 38,502,400 tokens on cuda",
        "mixtral is asked in format mixtral: its name is mixtral",
        "Chat template: ibm_legacy_tmpl, since the base model's tokenizer has none",
        "4,556 samples and 186 multiple-choice questions were generated",
        "knowledge 3,378 2,204,518 3,811 4 178",
        "knowledge/astronomy/lumera/orbit dropped: near duplicate 3, refusal 2 1,471 4 5",
        "near duplicate: another sample is nearly the same.",
        "Samples were compared with 160 questions of MT-Bench.",
        "train_phase_2 7 h 45 min 38,502,400 1,378",
        "min_mt_bench 6 6.94 passed",
        "learning_rate 2e-05",
        "8d1f3a7c2be94f0d6a5c1b7e9f20438acd51be77",
        "torch 2.6.0",
    ],
)
def test_full_page_shows_all_results(pages: dict[str, str], text: str) -> None:
    assert text in " ".join(Elements(re.sub("<t[dh]|<d[td]|<small", r" \g<0>", pages["full"])).text.split())


def test_full_page_has_a_chart_for_each_series(pages: dict[str, str]) -> None:
    # MT-Bench by checkpoint, three comparisons by leaf, generated samples, two loss curves.
    assert Elements(pages["full"]).tags.count("svg") == 7


@pytest.mark.parametrize("run", ["full", "held back", "sparse", "empty"])
def test_page_loads_no_resources_and_runs_no_scripts(pages: dict[str, str], run: str) -> None:
    page = Elements(pages[run])
    assert not {"script", "img", "link", "iframe", "object", "embed", "a", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if "//" in value and name != "xmlns"]
    assert not [value for name, value in page.attributes if "href" in name and not value.startswith("#")]
    assert "@import" not in pages[run]
    assert all(target.startswith("#") for target in re.findall(r"url\((.*?)\)", pages[run]))
    assert len(pages[run].encode()) < 400_000


def test_untrusted_text_is_never_markup(attacked: str, pages: dict[str, str]) -> None:
    page, clean = Elements(attacked), Elements(pages["full"])
    assert set(page.tags) <= set(clean.tags)
    assert {name for name, _ in page.attributes} <= {name for name, _ in clean.attributes}
    assert "<script>alert(1)</script>" in page.text
    assert "{{7*7}}" in page.text


def test_report_of_the_same_run_is_identical(facts: dict[str, dict[str, Any]], pages: dict[str, str]) -> None:
    assert render(facts["full"]) == pages["full"]


@pytest.mark.parametrize(
    ("run", "present", "absent"),
    [
        (
            "sparse",
            ["skipped: the taxonomy has no skills", "skipped: not run", "Not published"],
            ["MT-Bench by checkp"],
        ),
        ("held back", ["The gate rejected it (min_mt_bench)", "failed"], []),
        ("empty", ["was not compared"], ["MT-Bench by checkpoint", "Sample answers", "Training", "Gate", "Time"]),
    ],
)
def test_missing_results_are_named_or_left_out(
    pages: dict[str, str], run: str, present: list[str], absent: list[str]
) -> None:
    assert [text for text in present if text not in pages[run]] == []
    assert [text for text in absent if text in pages[run]] == []


def test_every_phase_name_and_mmlu_option_is_shown(tmp_path: Path) -> None:
    full_run(tmp_path)
    score = {"max_score": "1.0", "model": "m", "model_score": 0.512, "base_model": "b", "base_model_score": 0.498}
    (tmp_path / "scores/mmlu.json").write_text(json.dumps({**score, "summary": {}}))
    page = render(report_facts(str(tmp_path), "run", []))
    assert "<b>MMLU</b>" in page
    assert "+0.014" in page


def test_charts_follow_light_and_dark_mode() -> None:
    chart = str(bar_chart([("a/b", 1.0, 2.0)], 1)) + str(line_chart([(1, 2.0), (2, 1.0)], "step"))
    assert "var(--base)" in chart
    assert "var(--candidate)" in chart
    assert "#0000" not in chart


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([("k/a", 1.0, 0.5)], ["k/a"]),
        ([("k/a", None, 0.5), ("k/b", None, None)], ["k/a", "k/b", "–"]),
        ([(f"k/leaf{i}", 1.0, 1.0 - i / 100) for i in range(60)], ["k/leaf59", "k/leaf20"]),
        ([("k/$\\frac", 3)], ["k/$\\frac"]),
        ([("k/潮", 3)], ["k/潮"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_bar_chart_labels_its_leaves(rows: list[tuple[Any, ...]], labels: list[str]) -> None:
    chart = str(bar_chart(rows, 2))
    assert [label for label in labels if f">{label}<" not in chart] == []


def test_bar_chart_of_many_leaves_shows_those_that_changed_most() -> None:
    chart = str(bar_chart([(f"k/leaf{i}", 1.0, 1.0 - i / 100) for i in range(60)], 2))
    assert chart.count(">k/leaf") == 40
    assert ">k/leaf19<" not in chart


def test_zero_bars_start_beside_their_leaf() -> None:
    chart = str(bar_chart([("k/a", 0.0, 0.0)], 3))
    assert max(float(x) for x in re.findall(r' x="([\d.]+)"', chart)) < 60


def test_single_step_is_labeled_step_1() -> None:
    chart = str(line_chart([(1, 3.07)], "step"))
    assert ">1<" in chart and ">0.95" not in chart


def test_page_of_many_leaves_stays_small(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "scores/likelihood.json"
    score = json.loads(path.read_text())
    leaf = score["by_leaf"][0]
    score["by_leaf"] = [{**leaf, "leaf": f"knowledge/science/leaf_{i}"} for i in range(500)]
    path.write_text(json.dumps(score))
    page = render(report_facts(str(tmp_path), "run", []))
    assert len(page.encode()) < 400_000
    assert "40 of 500 leaves, by change or number" in page


STYLE = (ROOT / "utils/stages/report/page.css").read_text()
PHONE = 390 - 2 * 14
"""Width of the page's content on a phone, in pixels."""


def luminance(color: str) -> float:
    """Relative luminance of #rgb (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    parts = [int(digit * 2, 16) / 255 for digit in color.removeprefix("#")]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_marks_and_text_stand_out_from_the_background(mode: int) -> None:
    """3 for marks, 4.5 for text (https://www.w3.org/TR/WCAG22/#non-text-contrast, #contrast-minimum)."""
    names = ("bg", "ink", "muted", "base", "candidate", "good", "bad")
    colors = {name: re.findall(rf"--{name}: (#\w+)", STYLE)[mode] for name in names}
    ratios = {name: contrast(color, colors["bg"]) for name, color in colors.items() if name != "bg"}
    assert [name for name, ratio in ratios.items() if ratio < (3 if name in ("base", "candidate") else 4.5)] == []
    assert contrast(colors["base"], colors["candidate"]) > 1.5, "told apart without color"


@pytest.mark.parametrize(
    "chart",
    [
        bar_chart([("knowledge/a/b", 1.0, 2.0), ("compositional_skills/a/quite_a_long_name_of_a_leaf", 3.0, 1.0)], 2),
        line_chart([(step, 2.0 + step % 7, step == 30) for step in range(60)], "samples"),
    ],
    ids=["bars", "line"],
)
def test_text_of_charts_is_large_enough_on_a_phone(chart: str) -> None:
    (width,) = re.findall(r'viewBox="0 0 ([\d.]+) ', chart)
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", chart)]
    assert sizes and min(sizes) * PHONE / float(width) >= 11


@pytest.mark.parametrize("run", ["full", "sparse"])
def test_every_chart_has_a_role_and_a_title(pages: dict[str, str], run: str) -> None:
    charts = re.findall(
        r"<figcaption>(.*?)</figcaption>\s*(<svg[^>]*>)\s*(?:<title>(.*?)</title>)?", pages[run], re.DOTALL
    )
    assert charts and all('role="img"' in tag and title == caption for caption, tag, title in charts)
    assert len(charts) == pages[run].count("<svg")


ROWS = [{"leaf": "b/Zebra", "kept": 3, "dropped": {}}, {"leaf": "a", "kept": 20, "dropped": {"refusal": 2, "empty": 1}},
        {"leaf": "", "kept": 3, "dropped": {"empty": 4}}]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "order"), [(None, [0, 1, 2]), ("leaf", [2, 1, 0]), ("kept", [1, 0, 2]), ("dropped", [2, 1, 0])]
)
def test_rows_are_ordered_by_a_column(column: str | None, order: list[int]) -> None:
    assert ordered(ROWS, column) == [ROWS[i] for i in order]


def test_leaf_tables_can_be_sorted_without_scripts(pages: dict[str, str]) -> None:
    page = pages["full"]
    tables = [part.partition("</table>")[0] for part in page.split('<table class="leaves sorts">')[1:]]
    assert len(tables) >= 2 and "<script" not in page
    for table in tables:
        titles = table.count('<input type="radio"')
        bodies = [re.findall("<tr><td>([^<\n]*)", body) for body in table.split("<tbody>")[1:]]
        assert titles == 4 and len(bodies) == 1 + titles
        assert all(sorted(body) == sorted(bodies[0]) and len(body) > 1 for body in bodies)
        assert bodies[1] == sorted(bodies[0], key=str.casefold)
    for place in range(1, 5):
        assert f".sorts:has(th:nth-child({place}) :checked) tbody:nth-of-type({place + 1})" in page
