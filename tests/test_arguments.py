"""Values from files and -p: typed by the pipeline's file, every finding in one error."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from utils.arguments import check_ranges, load_arguments, typed
from utils.cli.compile import our_pipeline
from utils.cli.main import main
from utils.cli.run import run
from utils.cli.submit import pipeline_command
from utils.errors import UsageError
from utils.files import COMPILED
from utils.ir.load import load
from utils.ir.model import Parameter

SPECS = {
    "name": Parameter("name", "STRING", "", has_default=True, optional=True),
    "epochs": Parameter("epochs", "NUMBER_INTEGER", 7, has_default=True, optional=True),
    "rate": Parameter("rate", "NUMBER_DOUBLE", 1e-4, has_default=True, optional=True),
    "offload": Parameter("offload", "BOOLEAN", True, has_default=True, optional=True),
    "tolerations": Parameter("tolerations", "LIST", [], has_default=True, optional=True),
    "selectors": Parameter("selectors", "STRUCT", {}, has_default=True, optional=True),
    "required": Parameter("required", "STRING"),
}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("STRING", "8", "8"),
        ("STRING", "", ""),
        ("STRING", " as it is ", " as it is "),
        ("NUMBER_INTEGER", "-3", -3),
        ("NUMBER_INTEGER", 7.0, 7),
        ("NUMBER_DOUBLE", "2e-05", 2e-05),
        ("NUMBER_DOUBLE", "1", 1.0),
        ("NUMBER_DOUBLE", 3, 3.0),
        ("BOOLEAN", "true", True),
        ("BOOLEAN", "False", False),
        ("LIST", '[{"key": "a=b"}]', [{"key": "a=b"}]),
        ("LIST", "[a, 1]", ["a", 1]),
        ("STRUCT", "{}", {}),
        ("STRUCT", '{"a": {"b": [1.5, null]}}', {"a": {"b": [1.5, None]}}),
    ],
)
def test_values_take_the_parameters_type(kind: str, value: Any, expected: Any) -> None:
    result = typed(Parameter("p", kind), value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("STRING", 2, 'got 2, expected text (put it in quotes: "…")'),
        ("STRING", None, 'has no value (null); expected text; unset is written ""'),
        ("NUMBER_INTEGER", "3.5", 'got "3.5", expected a whole number'),
        ("NUMBER_INTEGER", "1_000", "expected a whole number"),
        ("NUMBER_INTEGER", True, "got true, expected a whole number"),
        ("NUMBER_INTEGER", 2**53 + 1, "expected a whole number"),
        ("NUMBER_DOUBLE", "nan", "expected a number"),
        ("NUMBER_DOUBLE", float("inf"), "expected a number"),
        ("BOOLEAN", "yes", 'got "yes", expected true or false'),
        ("BOOLEAN", 1, "got 1, expected true or false"),
        ("LIST", "a, b", "expected a list"),
        ("LIST", "{}", "expected a list"),
        ("LIST", "[2024-01-01]", "expected a list"),
        ("STRUCT", "[", "expected a mapping"),
        ("STRUCT", {1: 2}, "expected a mapping"),
        ("TASK_FINAL_STATUS", "{}", "can't be given as an argument"),
    ],
)
def test_ill_typed_values_say_what_they_are_and_what_is_expected(kind: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        typed(Parameter("p", kind), value)
    assert message in str(caught.value)


def test_only_the_first_equals_sign_separates_name_and_value() -> None:
    """Trap 42: values may hold `=`, and they do not stay text."""
    got = load_arguments(SPECS, [], ["required=a=b==", 'selectors={"k": "x=y"}', "epochs=3"])
    assert got == {"required": "a=b==", "selectors": {"k": "x=y"}, "epochs": 3}


def test_later_files_win_and_pairs_win_over_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.json"
    first.write_text("required: one\nepochs: 1\nrate: 1e-4\n")
    second.write_text(json.dumps({"required": "two", "epochs": 2}))
    got = load_arguments(SPECS, [first, second], ["epochs=3"])
    assert got == {"required": "two", "epochs": 3, "rate": 1e-4}


def test_all_findings_come_at_once(tmp_path: Path) -> None:
    broken, twice = tmp_path / "broken.yaml", tmp_path / "twice.yaml"
    broken.write_text("a: 1\nb: [\n")
    twice.write_text("epochs: 1\nepochs: 2\n")
    pairs = ["epoch=3", "rate=fast", "no-equals", "tolerations=[]"]
    with pytest.raises(UsageError) as caught:
        load_arguments(SPECS, [broken, twice, tmp_path / "absent.yaml"], pairs)
    message = caught.value.render()
    for part in (
        f"{broken}: line 3, column 1: not valid YAML",
        f"{twice}: named more than once: epochs",
        "absent.yaml: can't be read: No such file or directory",
        "-p: no parameter 'epoch'; did you mean epochs?",
        '-p: rate: got "fast", expected a number',
        '-p "no-equals": expected NAME=VALUE',
        "required and not given: required",
    ):
        assert part in message
    assert "7 of the arguments" in message


@pytest.mark.parametrize("text", ["- a\n", "just text"])
def test_a_parameter_file_is_a_mapping(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match="expected a mapping of parameter names"):
        load_arguments(SPECS, [file], ["required=x"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "https://canary@host/taxonomy.git"),
        ("name", "HTTPS://user:canary@host/taxonomy.git"),
        ("name", "ssh://git:canary@host/taxonomy.git"),
        ("name", "see http://canary@host"),
        ("tolerations", '[{"key": "https://user:canary@host"}]'),
        ("selectors", "{url: 'https://canary@host'}"),
        ("epochs", "https://canary@host"),
        ("nmae", "https://canary@host"),
        ("https://canary@host/?a", "b"),
    ],
)
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    """What a run is given stands in its record, in the cluster and on the server."""
    with pytest.raises(UsageError) as caught:
        load_arguments(SPECS, [], [f"{name}={value}", "required=x"])
    assert "canary" not in caught.value.render()
    (tmp_path / "params.yaml").write_text(json.dumps({name: value, "required": "x"}))
    with pytest.raises(UsageError) as caught:
        load_arguments(SPECS, [tmp_path / "params.yaml"])
    assert "canary" not in caught.value.render()


def test_argument_without_a_name_does_not_reveal_its_credentials() -> None:
    with pytest.raises(UsageError) as caught:
        load_arguments(SPECS, [], ["https://canary@host", "required=x"])
    assert '-p "https://***@host": expected NAME=VALUE' in caught.value.cause


@pytest.mark.parametrize(
    "value",
    [
        "git@host:org/taxonomy.git",
        "ssh://git@host:22/taxonomy.git",
        "https://host:8443/@org/taxonomy.git",
        "https://host/t?a=b",
        "s3://bucket/a@b",
        "write to me@host, or see https://host/",
    ],
)
def test_addresses_without_credentials_are_accepted(value: str) -> None:
    assert load_arguments(SPECS, [], [f"name={value}", "required=x"])["name"] == value


@pytest.mark.parametrize("command", [run, pipeline_command(our_pipeline()).commands["run"]], ids=["run", "pipeline.py"])
def test_an_object_that_kubeflow_pipelines_cannot_mount_is_refused_before_anything_is_submitted(
    command: click.Command,
) -> None:
    """Trap 46: on the server the pod of the first task is invalid, which leaves neither a log nor a message."""
    place = ["--on", "kfp"] if command is run else []
    wrong = ["-p", "k8s_ca_configmap=kube-root-ca.crt", "-p", "eval_judge_secret=judge.secret"]
    with pytest.raises(UsageError) as caught:
        command.main([*place, "--host", "http://127.0.0.1:1", *wrong], standalone_mode=False)
    assert "2 of the arguments can't be used" in caught.value.what
    assert "k8s_ca_configmap is 'kube-root-ca.crt'" in caught.value.cause
    assert "names the pod's volume after the object" in caught.value.cause


def test_the_same_name_is_accepted_where_our_own_jobs_mount_it() -> None:
    pipeline = load(COMPILED)
    given = {"k8s_ca_configmap": "kube-root-ca.crt", "k8s_ca_key": "ca.crt"}
    check_ranges(pipeline.parameters, given, "kubernetes")
    with pytest.raises(UsageError, match="1 of the arguments"):
        check_ranges(pipeline.parameters, {"sdg_repo_secret": "my_secret"}, "kubernetes")
    check_ranges(pipeline.parameters, {"sdg_repo_secret": "my_secret"}, "local")


@pytest.mark.parametrize("text", ["[" * 3000, "9" * 5000, "x: &a [*a]", "!!int x", "? {a: b}\n: c", "[1]\n---\n[2]"])
@pytest.mark.parametrize("name", ["tolerations", "selectors", "epochs", "rate"])
def test_value_that_breaks_a_parser_is_a_finding(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"-p: {name}: got"):
        load_arguments(SPECS, pairs=["required=x", f"{name}={text}"])
    (tmp_path / "p.yaml").write_text(f"required: x\n{name}: {text}\n")
    with pytest.raises(UsageError, match="p.yaml: "):
        load_arguments(SPECS, [tmp_path / "p.yaml"])


def test_a_wrong_name_hides_no_value_out_of_range() -> None:
    words = ["run", "-p", "sdg_scale_facto=3", "-p", "gate_min_mt_bench=11", "-p", "train_seed=x"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    for part in ("did you mean sdg_scale_factor?", "gate_min_mt_bench is '11.0', expected 0 to 10", "train_seed: got"):
        assert part in done.output
