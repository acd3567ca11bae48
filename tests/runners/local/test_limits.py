"""Settings of a pod on one machine: given, refused before anything starts, or said to have no effect."""

import socket
import uuid

from tests.runners.local.conftest import Home
from utils.ir.load import load
from utils.runners.local.limits import without_effect


def test_fields_of_the_pod_are_given_as_variables(home: Home) -> None:
    found = home.run_json("fields", "r1")["outputs"]["Output"]
    assert str(uuid.UUID(found.pop("UID"))) != ""
    assert found == {
        "NAME": "r1-read-variables-0",
        "TEAM": "x",
        "NONE": "",
        "NOTE": "some text",
        "RUN": "r1",
        "NODE": socket.gethostname(),
        "POD_IP": "127.0.0.1",
    }


def test_what_one_machine_cannot_give_is_refused_by_name(home: Home) -> None:
    result = home.run("fieldless", "r1")
    assert result.exit_code == 2
    for line in (
        "task read-variables: its variable PROJECT is the pod's metadata.namespace, which a process does not have",
        "task read-variables: its variable ACCOUNT is the pod's spec.serviceAccountName, which a process does not have",
        "task createpvc: it creates a volume claim on a copy of another volume (data_source)",
        "task createpvc-2: it creates a volume claim on an existing volume (volume_name)",
    ):
        assert line in result.output
    assert not home.run_dir("r1").exists()


def test_settings_without_effect_are_said(home: Home) -> None:
    result = home.run("demanding", "r1")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if line.startswith("without effect on one machine: "))
    for part in (
        "CPU, memory and accelerators (read-variables)",
        "tolerations (read-variables)",
        "affinity (read-variables)",
        "image pulls (read-variables)",
        "security context (read-variables)",
        "labels and annotations (read-variables)",
        "size and access modes of volumes (createpvc, read-variables)",
        "storage class and annotations of volume claims (createpvc)",
    ):
        assert part in line
    assert "node selector" not in line


def test_parameter_that_gives_a_setting_counts(home: Home) -> None:
    pipeline = load(home.packages / "demanding.yaml")
    assert "node selector (read-variables)" in without_effect(pipeline, {"selector": {"disk": "fast"}})
    assert without_effect(load(home.packages / "chain.yaml"), {"claim": "shared"}) == ""
