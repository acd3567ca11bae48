"""The examples that users start from fit the pipeline."""

from pathlib import Path

import pytest

from utils.arguments import load_arguments
from utils.cli import local_run
from utils.files import COMPILED, ROOT
from utils.ir.load import load
from utils.runners.local.volumes import SecretFiles
from utils.runners.run_folder import RunFolder
from utils.runners.settings import LocalSettings
from utils.stages.credentials import model_server
from utils.stages.object_store.client import store_of_secret

EXAMPLES = ROOT / "examples"


def test_parameters_for_one_machine_fit_the_pipeline() -> None:
    arguments = load_arguments(load(COMPILED).parameters, [EXAMPLES / "params" / "one-machine.yaml"])
    assert (arguments["train_launcher"], arguments["eval_engine"]) == ("process", "vllm")
    assert "report_notes" not in arguments  # the demo's remarks are about the demo's model


def test_example_secrets_have_the_keys_that_stages_read(tmp_path: Path) -> None:
    found = SecretFiles(EXAMPLES / "secrets", tmp_path)
    store = store_of_secret(str(found.folder("secret", "sdg-object-store-credentials", optional=False)), "")
    assert (store.bucket, store.data_key, store.endpoint) == ("ilab", "data.tar.gz", "https://s3.example.com")
    for role in ("teacher", "judge"):
        server = model_server(str(found.folder("secret", f"{role}-secret", optional=False)), role)
        assert server.endpoint == f"https://{role}.example.com/v1"


@pytest.mark.parametrize(("given", "kept"), [("mine", False), ("full", True), ("/usr", True)])
def test_relative_sdg_pipeline_is_found_where_the_command_is_called(
    given: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local_run, "work", lambda folder, pipeline, output: 0)
    arguments = {"sdg_pipeline": given}
    local_run.start_local(load(COMPILED), arguments, LocalSettings("python3"), tmp_path / "home", "r1", "text")
    stored = RunFolder(tmp_path / "home", "r1").arguments
    assert stored == {"sdg_pipeline": given if kept else str(tmp_path / "mine")}
