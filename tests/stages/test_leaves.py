"""Names of a leaf's files: none stands for two leaves."""

from pathlib import Path

from utils.stages.leaves import leaf_id, leaf_names, leaf_of_dataset, taxonomy_leaves

SKILLS = "compositional_skills"


def test_name_of_an_ordinary_leaf_is_that_of_the_library() -> None:
    names = leaf_names(["knowledge/arts/tea_time", f"{SKILLS}/writing/short notes"])
    assert [*names.values()] == ["knowledge_arts_tea_time", f"{SKILLS}_writing_short notes"]


def test_no_name_stands_for_two_leaves() -> None:
    """Trap 58."""
    leaves = [f"{SKILLS}/writing/short_forms", f"{SKILLS}/writing_short/forms", f"{SKILLS}/Writing/short_forms"]
    names = leaf_names(leaves)
    assert len({name.casefold() for name in names.values()}) == 3
    assert all(name.startswith(f"{SKILLS}_") for name in names.values())


def test_every_name_can_be_a_file_and_no_pattern() -> None:
    leaves = [f"knowledge/{'/'.join(['wörter' * 20] * 9)}", "knowledge/a[b]*?", "knowledge/a:b", "knowledge/{a}"]
    for name in [*leaf_names(leaves).values(), *map(leaf_id, leaves)]:
        assert len(f"mmlubench_{name}.jsonl".encode()) <= 255
        assert not {*"[]*?:{}/"} & {*name}


def test_id_of_a_leaf_does_not_depend_on_others() -> None:
    assert leaf_id("knowledge/a/b_c") != leaf_id("knowledge/a_b/c") != leaf_id("knowledge/a/b/c")
    assert leaf_id("knowledge/a/b") == leaf_id("knowledge/a/b")


def test_only_knowledge_leaves_have_a_file_for_each_phase() -> None:
    names = ["knowledge_tea_p07", "knowledge_tea_p10", f"{SKILLS}_count_to_p10", "knowledge_a_p07_p07"]
    assert [*map(leaf_of_dataset, names)] == [
        "knowledge_tea",
        "knowledge_tea",
        f"{SKILLS}_count_to_p10",
        "knowledge_a_p07",
    ]


def test_leaves_are_found_in_the_folders_that_have_them(tmp_path: Path) -> None:
    for leaf in ("knowledge/b", "knowledge/a/c", f"{SKILLS}/d", "docs/e"):
        (tmp_path / leaf).mkdir(parents=True)
        (tmp_path / leaf / "qna.yaml").touch()
    assert taxonomy_leaves(tmp_path) == [f"{SKILLS}/d", "knowledge/a/c", "knowledge/b"]
