"""The whole chain on one machine without an object store: model and taxonomy as folders, the result as a folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

from utils.demo.model_server import model_server
from utils.demo.run import MODEL_NAME, Demo, base_model, demo_arguments, packaged_model, write_secret
from utils.demo.taxonomy import LEFT_OUT_QUICK, make_taxonomy

RUN_ID = "e2e-folders"


def test_folders_are_enough_for_a_run_on_one_machine(tmp_path: Path) -> None:
    python, home, work = os.environ["ILAB_PYTHON"], tmp_path / "home", tmp_path / "work"
    demo = Demo(home, "unused", python)
    work.mkdir()
    demo.folder.mkdir(parents=True)
    (work / "granite").symlink_to(base_model(demo))
    make_taxonomy(work, left_out=LEFT_OUT_QUICK)
    files, pairs = demo_arguments(quick=True)
    pairs += ["sdg_base_model=./granite", "sdg_repo_url=taxonomy"]
    command = [str(Path(sys.executable).with_name("ilab-pipeline"))]
    arguments = [*(word for file in files for word in ("-f", str(file))), *(w for pair in pairs for w in ("-p", pair))]
    with model_server(python, packaged_model(python), MODEL_NAME, tmp_path) as url:
        for name in ("teacher-secret", "judge-secret"):
            write_secret(tmp_path / "secrets" / name, {"endpoint": url, "model_name": MODEL_NAME})
        words = ["run", "--home", str(home), "--run-id", RUN_ID, "--secrets", str(tmp_path / "secrets"), *arguments]
        with (tmp_path / "run.log").open("w") as log:
            done = subprocess.run([*command, *words], cwd=work, stdout=log, stderr=subprocess.STDOUT, timeout=1500)
    said = (tmp_path / "run.log").read_text()
    assert done.returncode == 0, said[-4000:]
    result = home / "results" / RUN_ID
    assert f"result: {result}\n" in said
    assert {file.name for file in result.iterdir()} == {
        "model", "scores", "provenance.json", "report.html", "report.json"
    }  # fmt: skip
    assert (result / "report.html").read_bytes() == (home / "runs" / RUN_ID / "report.html").read_bytes()
    facts = json.loads((result / "report.json").read_text())
    assert facts["done"]["data_import"]["result"]["model_source"] == f"file://{work}/granite"
    assert "registry." not in (result / "report.json").read_text() + (result / "provenance.json").read_text()
    assert {"torch", "instructlab-training"} <= facts["done"]["train_phase_2"]["versions"].keys()
    verified = subprocess.run([*command, "verify", "--home", str(home), RUN_ID], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    got = [*command, "get-model", "--home", str(home), RUN_ID, str(tmp_path / "model")]
    subprocess.run(got, check=True)
    names = {file.name for file in (tmp_path / "model").iterdir()}
    assert {"config.json", "tokenizer.json", "README.md"} <= names and any(
        name.endswith(".safetensors") for name in names
    )
