"""Parsers of foreign text give a value or one of our errors, whatever the text is: never a traceback."""

import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.archives import MODEL, TAXONOMY, skill_leaf, targz
from tests.stages.data_import.taxonomies import KNOWLEDGE
from utils.arguments import load_arguments
from utils.errors import IlabError, UsageError
from utils.image_choice import replaced
from utils.ir import check, expression, load, package
from utils.ir.model import Parameter
from utils.runners.local.volumes import read_key_files
from utils.stages.archive import unpack_archive
from utils.stages.data_import.documents import check_taxonomy

ROOT = Path(__file__).parents[2]
SPEC = list(yaml.load_all((ROOT / "pipeline.yaml").read_text(), yaml.CSafeLoader))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=6
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in paths_of(inner, (*path, key)))]


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at a place."""
    if not path:
        return value
    copy = document.copy()
    copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


IR_SMALL = changed(
    SPEC[0],
    ("deploymentSpec", "executors"),
    {
        name: {"container": one["container"] | {"command": ["sh"], "args": ["x"]}}
        for name, one in SPEC[0]["deploymentSpec"]["executors"].items()
    },
)
SECRET = {
    "kind": "Secret",
    "metadata": {"name": "teacher"},
    "data": {"endpoint": "aHR0cA=="},
    "stringData": {"api_token": "x"},
}
PARAMETERS = {
    kind: Parameter(kind, kind, optional=True)
    for kind in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")
}
WORDS = st.sampled_from(
    [
        *("inputs.parameter_values", "['a']", "[0]", "int(", "double(", "string(", "bool(", "parseJson(", ")", "("),
        *("==", "!=", "<", "<=", "&&", "||", "!", "-", "1", "1.5", "1e999", "9999999999999999999999", "'x'"),
        *(r"'inputs.parameter_values[\'a\']'", '"', "'", "\\", "true", "null", ".", " "),
    ]
)
YAML_TEXT = st.one_of(
    st.text(max_size=60),
    VALUES.map(lambda value: yaml.safe_dump(value)),
    st.lists(st.sampled_from(list("{}[]:,-?&*!|>%@`'\"#\n \t") + ["a", "1", "2001-99-99", "<<", "!!int", "\x00"])).map(
        "".join
    ),
)


@given(st.data())
def test_changed_pipeline_file_is_read_or_refused(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths_of(IR_SMALL)))
    document = changed(IR_SMALL, path, data.draw(VALUES))
    with suppress(IlabError):
        check.check(load.parse(yaml.dump_all([document, SPEC[1]], Dumper=yaml.CSafeDumper)), containers=True)


@given(st.data())
def test_changed_platform_spec_is_read_or_refused(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths_of(SPEC[1])))
    document = changed(SPEC[1], path, data.draw(VALUES))
    with suppress(IlabError):
        check.check(load.parse(yaml.dump_all([IR_SMALL, document], Dumper=yaml.CSafeDumper)), containers=True)


@given(YAML_TEXT)
@example("[" * 3000)
@example("a: 2001-99-99")
@example("? {a: b}\n: c")
def test_text_that_is_no_pipeline_is_refused(text: str) -> None:
    with suppress(IlabError):
        load.parse(text)


@given(st.lists(WORDS, max_size=12).map("".join) | st.text(max_size=30), st.dictionaries(st.just("a"), VALUES))
@example("(" * 3000 + "1" + ")" * 3000, {})
@example("int(inputs.parameter_values['a']) == 1", {"a": float("inf")})
@example("parseJson(inputs.parameter_values['a']) == 1", {"a": "[" * 100_000})
@example("int('" + "9" * 5000 + "') == 1", {})
@example("9" * 5000 + " == 1", {})
@example("²==1", {})
def test_condition_holds_or_not_or_is_refused(text: str, inputs: dict[str, Any]) -> None:
    with suppress(expression.ExpressionError):
        expression.evaluate(text, inputs)


@given(YAML_TEXT, st.sampled_from(sorted(PARAMETERS)))
@example("[" * 3000, "LIST")
@example("a: 2001-99-99", "STRUCT")
@example("9" * 5000, "NUMBER_INTEGER")
@example("9" * 5000, "LIST")
@example("9" * 5000, "NUMBER_DOUBLE")
@example("{{a: b}: c}", "STRUCT")
@example("2001-99-99", "LIST")
@example("x: &a [*a]", "STRUCT")
@example("!!int x", "LIST")
def test_argument_on_the_command_line_or_in_a_file_is_taken_or_refused(text: str, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "params.yaml")
        for content in (text, f"{kind}: {text}"):
            file.write_bytes(content.encode(errors="surrogatepass"))
            for files, pairs in (([file], []), ([], [f"{kind}={text}"]), ([], [text])):
                with suppress(UsageError):
                    load_arguments(PARAMETERS, files, pairs)


@given(YAML_TEXT)
@example("[" * 3000)
@example("a: 2001-99-99")
def test_text_in_the_folder_of_secrets_is_read_or_refused(text: str) -> None:
    read_secrets(text)


@given(st.data())
def test_changed_secret_is_read_or_refused(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths_of(SECRET)))
    item = changed(SECRET, path, data.draw(VALUES))
    read_secrets(yaml.safe_dump(data.draw(st.sampled_from([item, {"kind": "List", "items": [item]}]))))
    read_secrets(yaml.safe_dump({"items": data.draw(VALUES)}))


def read_secrets(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "secrets.yaml")
        file.write_bytes(text.encode(errors="surrogatepass"))
        with suppress(IlabError):
            for item in read_key_files(file):
                assert isinstance(item.name, str) and all(isinstance(key, str) for key in item.values)
                assert "/" not in item.name + "".join(item.values)


def damage(data: st.DataObject, content: bytes) -> bytes:
    """The bytes with some others at a place, or cut."""
    at = data.draw(st.integers(0, len(content)))
    new = data.draw(st.binary(max_size=12))
    return content[:at] + new + data.draw(st.sampled_from([b"", content[at + len(new) :], content[at:]]))


@given(st.data())
def test_damaged_archive_of_a_model_is_unpacked_or_refused(data: st.DataObject) -> None:
    plain = gzip.decompress(targz({**MODEL, **TAXONOMY}))
    inside = data.draw(st.booleans())
    content = gzip.compress(damage(data, plain), 1) if inside else damage(data, targz(MODEL))
    with tempfile.TemporaryDirectory() as folder:
        archive, target = Path(folder, "data.tar.gz"), Path(folder, "tree")
        archive.write_bytes(content)
        try:
            unpack_archive(archive, target, ["model", "taxonomy", "data"])
        except SystemExit as error:
            assert "can't be unpacked" in str(error) and not target.exists()


@given(st.data())
def test_damaged_archive_of_a_pipeline_is_read_or_refused(data: st.DataObject) -> None:
    packed = io.BytesIO()
    if data.draw(st.booleans()):
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("pipeline.yaml", json.dumps(IR_SMALL))
        content = damage(data, packed.getvalue())
    elif data.draw(st.booleans()):
        content = damage(data, targz({"pipeline.yaml": b"a: b" * 100}))
    else:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("pipeline.yaml"))
        content = gzip.compress(damage(data, packed.getvalue()), 1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pipeline.zip")
        file.write_bytes(content)
        with suppress(IlabError):
            package.read_package(file)


SKILL_TREE, KNOWLEDGE_TREE = yaml.safe_load(skill_leaf()), yaml.safe_load(KNOWLEDGE)
# Cloning is tested elsewhere: an address that is refused ends the look at documents.
KNOWLEDGE_TREE["document"]["repo"] = "ext::sh"


@given(YAML_TEXT, st.sampled_from(["knowledge", "compositional_skills"]))
@example("[" * 3000, "knowledge")
@example("a: !!bool 2", "knowledge")
@example("a: !!timestamp x", "compositional_skills")
@example("- !!int ''", "compositional_skills")
@example("a: 2001-99-99", "compositional_skills")
@example("seed_examples: &a [*a, &b [*b], *b, *a]", "compositional_skills")
def test_text_that_is_no_leaf_is_a_finding(text: str, kind: str) -> None:
    assert leaf_findings(text, kind)


@given(st.data())
def test_changed_leaf_is_read_or_a_finding(data: st.DataObject) -> None:
    kind, tree = data.draw(st.sampled_from([("compositional_skills", SKILL_TREE), ("knowledge", KNOWLEDGE_TREE)]))
    path = data.draw(st.sampled_from(paths_of(tree)))
    leaf_findings(yaml.safe_dump(changed(tree, path, data.draw(VALUES))), kind)


def leaf_findings(text: str, kind: str) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "taxonomy", kind, "a", "qna.yaml")
        file.parent.mkdir(parents=True)
        file.write_bytes(text.encode(errors="surrogatepass"))
        found = check_taxonomy(Path(folder, "taxonomy"), Path(folder, "scratch"), "")[1]
        return [str(one) for one in found]


def with_image(value: Any, old: str, new: str) -> Any:
    """The value with another text wherever it holds this one."""
    if isinstance(value, dict):
        return {with_image(key, old, new): with_image(one, old, new) for key, one in value.items()}
    if isinstance(value, list):
        return [with_image(one, old, new) for one in value]
    return new if value == old else value


@given(YAML_TEXT)
@example("\ufeffimage: r/a:1")
@example("[" * 5000)
@example("a: &a [*a]")
def test_images_are_chosen_in_any_text(text: str) -> None:
    with suppress(IlabError):
        replaced(f"{text}", ["r/a:1=r/b:2"], lambda line: None)


@given(VALUES, st.sampled_from(["", "\ufeff", "# grüß\n", "--- \n"]), st.sampled_from([None, '"', "'"]), st.booleans())
def test_only_the_images_change_in_a_text(value: Any, before: str, style: Any, flow: bool) -> None:
    document = {"a": value, "image": "r/a:1", "é": ["r/a:1", "x r/a:1"]}
    text = before + yaml.safe_dump(document, default_style=style, default_flow_style=flow, allow_unicode=True)
    changed = replaced(text, ["r/a:1=r/b:2"], lambda line: None)
    wanted, found = with_image(yaml.safe_load(text), "r/a:1", "r/b:2"), yaml.safe_load(changed)
    assert repr(found) == repr(wanted)
