"""A run whose volume is lost is continued by another one, from the copies of its states in the object store."""

import json
from pathlib import Path

import pytest

from tests.e2e.stages import in_stages
from tests.fakes.s3 import S3


def test_a_run_on_a_new_volume_ends_as_one_that_nothing_stopped(tmp_path: Path, s3_server: S3) -> None:
    secret = s3_server.secret(tmp_path / "secret", data_key="mirror/data.tar.gz")
    output = in_stages("tests/e2e/run_mirror.py", str(tmp_path), str(secret))
    found = json.loads(output)
    whole, second, again = found["whole"], found["second_1"], found["second_2"]
    for run in (second, again):
        assert run["loss"] == pytest.approx(whole["loss"], rel=1e-3)
        assert list(run["weights"]) == list(whole["weights"])
        for name, norm in whole["weights"].items():
            assert run["weights"][name] == pytest.approx(norm, rel=1e-5), name
    assert len(second["logs"]) == 1, "it trained the rest"
    steps = [json.loads(line) for line in second["logs"][0].splitlines() if line.startswith("{")]
    assert not steps or len(steps) < 30
    assert again["logs"] == [], "the phase had finished: nothing was trained"
