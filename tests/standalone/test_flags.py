"""Every flag of the first generation is there, with its default, its type and its environment variable."""

import re
from typing import Any

import click
import pytest

from tests.standalone.conftest import Read
from utils.docs.flag_table import BEGIN, END, with_flag_tables
from utils.standalone.flags import FLAGS
from utils.standalone.options import StrictBoolean

# name, kind, default, environment variable; what the first generation's `run` had.
FIRST_GENERATION = """
--namespace namespace -
--taxonomy-repo-branch text -
--taxonomy-repo-pr text -
--storage-class text -
--judge-serving-model-endpoint text -
--judge-serving-model-name text -
--judge-serving-model-api-key text - JUDGE_SERVING_MODEL_API_KEY
--judge-serving-model-ca-cert text -
--judge-serving-model-ca-cert-cm-key text ca-bundle.crt
--judge-serving-model-secret text - JUDGE_SERVING_MODEL_SECRET
--nproc-per-node integer 1
--eval-type choice -
--training-phase choice -
--model-to-train text -
--sdg-object-store-endpoint text - SDG_OBJECT_STORE_ENDPOINT
--sdg-object-store-bucket text - SDG_OBJECT_STORE_BUCKET
--sdg-object-store-access-key text - SDG_OBJECT_STORE_ACCESS_KEY
--sdg-object-store-secret-key text - SDG_OBJECT_STORE_SECRET_KEY
--sdg-object-store-region text - SDG_OBJECT_STORE_REGION
--sdg-object-store-data-key text - SDG_OBJECT_STORE_DATA_KEY
--sdg-object-store-verify-tls boolean True SDG_OBJECT_STORE_VERIFY_TLS
--sdg-object-store-secret text - SDG_OBJECT_STORE_SECRET
--sdg-serving-model-endpoint text -
--sdg-serving-model-name text -
--sdg-serving-model-api-key text - SDG_SERVING_MODEL_API_KEY
--sdg-serving-model-secret text - SDG_SERVING_MODEL_SECRET
--sdg-serving-model-ca-cert text - SDG_SERVING_MODEL_CA_CERT
--sdg-serving-model-ca-cert-cm-key text ca-bundle.crt SDG_SERVING_MODEL_CA_CERT_CM_KEY
--sdg-sampling-size number 1.0 SDG_SERVING_MODEL_SAMPLING_SIZE
--force-pull switch False
--training-1-epoch-num integer 7
--training-1-effective-batch-size integer 3840
--training-2-epoch-num integer 10
--training-2-effective-batch-size integer 3840
--num-instructions-to-generate integer 30
--dry-run switch False
--sdg-in-cluster switch False
--sdg-pipeline text simple
""".strip().splitlines()


@pytest.mark.parametrize("line", FIRST_GENERATION)
def test_a_flag_of_the_first_generation_keeps_default_type_and_variable(line: str, read: Read) -> None:
    name, kind, default, *variable = line.split()
    flag = FLAGS[name.removeprefix("--").replace("-", "_")]
    assert (flag.name, flag.kind) == (name, kind)
    assert str(read()[flag.key]) == str(flag.default) == ("None" if default == "-" else default)
    assert not variable or flag.envvar == variable[0]


def test_every_flag_has_help_and_a_variable_of_its_own() -> None:
    variables = [flag.envvar for flag in FLAGS.values()]
    assert len(variables) == len(set(variables))
    assert all(re.fullmatch("[A-Z0-9_]+", one) for one in variables)
    assert all(flag.help.endswith(".") for flag in FLAGS.values())


def test_a_blank_value_is_unset(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDG_OBJECT_STORE_REGION", "")
    found = read("--sdg-object-store-endpoint", "", "--storage-class", " ")
    assert found["sdg_object_store_endpoint"] is found["storage_class"] is found["sdg_object_store_region"] is None


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("on", True), ("1", True), ("", True), (" ", True),
                        ("false", False), ("no", False), ("0", False)]
)  # fmt: skip
def test_verify_tls_is_off_only_for_a_clear_no(text: str, value: bool, read: Read) -> None:
    """Trap 14: blank, "on" and "enabled" once turned verification off."""
    assert read("--sdg-object-store-verify-tls", text)["sdg_object_store_verify_tls"] is value


def test_verify_tls_refuses_an_unknown_word(read: Read) -> None:
    with pytest.raises(click.BadParameter, match="'enabled' is neither true nor false"):
        read("--sdg-object-store-verify-tls", "enabled")


@pytest.mark.parametrize("value", [True, False])
def test_boolean_is_accepted_unchanged(value: bool) -> None:
    assert StrictBoolean(True).convert(value, None, None) is value


def test_environment_variable_sets_a_flag_that_was_not_typed(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDG_OBJECT_STORE_BUCKET", "b")
    found = read("--sdg-object-store-region", "r")
    assert (found["sdg_object_store_bucket"], found["sdg_object_store_region"]) == ("b", "r")
    assert found.typed == {"sdg_object_store_region"}


def test_values_do_not_appear_in_a_traceback(read: Read) -> None:
    assert "hunter2" not in repr(read("--judge-serving-model-api-key", "hunter2"))


def test_secret_values_are_marked() -> None:
    marked = {flag.name for flag in FLAGS.values() if flag.secret}
    assert marked == {
        "--sdg-object-store-access-key",
        "--sdg-object-store-secret-key",
        "--judge-serving-model-api-key",
        "--sdg-serving-model-api-key",
    }


def test_params_and_param_have_short_names(read: Read, tmp_path: Any) -> None:
    found = read("-p", "a=1", "--param", "b=2", "-f", str(tmp_path / "x.yaml"))
    assert found["param"] == ("a=1", "b=2") and found["params"] == (tmp_path / "x.yaml",)


def test_flag_tables_show_the_real_defaults() -> None:
    page = with_flag_tables(f"a\n{BEGIN}\noutdated row\n{END}\nz\n")
    assert "| `--nproc-per-node` | `1` | `ILAB_NPROC_PER_NODE` |" in page
    assert "| `--training-save-samples` | `0` |" in page
    assert "| `--sdg-object-store-verify-tls` | `true` | `SDG_OBJECT_STORE_VERIFY_TLS` |" in page
    assert "| `--cpu-offload`, `--no-cpu-offload` | on |" in page and "| `--dry-run` | off |" in page
    assert "outdated row" not in page and page.startswith("a\n") and page.endswith("z\n")
    assert with_flag_tables(page) == page
