"""Small pipelines for the tests of the local runner, compiled as a user's would be.

`python -m tests.runners.local.pipelines FOLDER` compiles them all.
"""

import sys
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from components.compile import compile_pipeline
from tests.cluster.pipelines import ending
from tests.runners.local.components import (
    ask,
    fail_first,
    fill,
    finish,
    hang,
    keep_in_tmp,
    meet,
    name_paths,
    note,
    prerequisites,
    read_model,
    read_secrets,
    read_variables,
    remove_claim,
    tell,
    wants_a_package,
    wants_pytest,
)


@dsl.pipeline(name="chain")
def chain(claim: str) -> None:
    """note → note-2 → note-3 (the names that the compiler gives them), then the exit task."""
    last = finish(data_dir="/data")
    kubernetes.mount_pvc(last, claim, "/data")
    with dsl.ExitHandler(last):
        given: Any = ""
        for name in ("note", "note-2", "note-3"):
            task = note(data_dir="/data", name=name, given=given)
            kubernetes.mount_pvc(task, claim, "/data")
            given = task.output


@dsl.pipeline(name="waiting")
def waiting(claim: str) -> None:
    """note → ask → note-2, then the exit task. Whoever waits is not tried again."""
    last = finish(data_dir="/data")
    kubernetes.mount_pvc(last, claim, "/data")
    with dsl.ExitHandler(last):
        first = note(data_dir="/data", name="note")
        asked = ask(data_dir="/data").after(first).set_retry(2, backoff_duration="0s")
        second = note(data_dir="/data", name="note-2").after(asked)
        for task in (first, asked, second):
            kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="hanging")
def hanging(claim: str) -> None:
    """note → hang and hang-2, then the exit task."""
    last = finish(data_dir="/data")
    kubernetes.mount_pvc(last, claim, "/data")
    with dsl.ExitHandler(last):
        first = note(data_dir="/data", name="note")
        kubernetes.mount_pvc(first, claim, "/data")
        for name in ("hang", "hang-2"):
            task = hang(data_dir="/data", name=name).after(first)
            kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="timed")
def timed(claim: str) -> None:
    task = hang(data_dir="/data/deep/er", name="hang")
    kubernetes.mount_pvc(task, claim, "/data")
    kubernetes.set_timeout(task, 1)


@dsl.pipeline(name="meeting")
def meeting(claim: str, seconds: float) -> None:
    for me, other in (("a", "b"), ("b", "a")):
        task = meet(data_dir="/data", me=me, other=other, seconds=seconds)
        kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="retried")
def retried(claim: str, times: int) -> str:
    task = fail_first(data_dir="/data", times=times)
    task.set_retry(num_retries=2, backoff_duration="0s")
    kubernetes.mount_pvc(task, claim, "/data")
    return task.output


@dsl.pipeline(name="told")
def told(cause: str) -> None:
    tell(cause=cause).set_retry(num_retries=2, backoff_duration="0s")


@dsl.pipeline(name="checked")
def checked(ok: bool) -> None:
    prerequisites(ok=ok)


@dsl.pipeline(name="secretive")
def secretive(secret: str) -> dict:
    task = read_secrets(folder="/mnt/secret", maps="/mnt/map", absent="/mnt/absent")
    kubernetes.use_secret_as_volume(task, secret, "/mnt/secret")
    kubernetes.use_secret_as_volume(task, "absent", "/mnt/absent", optional=True)
    kubernetes.use_config_map_as_volume(task, "place", "/mnt/map")
    kubernetes.use_secret_as_env(task, secret, {"api_token": "TOKEN"})
    kubernetes.use_config_map_as_env(task, "place", {"region": "REGION"})
    return task.output


@dsl.pipeline(name="installing")
def installing() -> None:
    wants_a_package()


@dsl.pipeline(name="satisfied")
def satisfied() -> str:
    return wants_pytest().output


@dsl.pipeline(name="deleting")
def deleting(ok: bool, claim: str) -> None:
    """The exit task deletes the volume."""
    with dsl.ExitHandler(remove_claim(claim=claim)):
        task = note(data_dir="/data", name="note")
        kubernetes.mount_pvc(task, claim, "/data")
        prerequisites(ok=ok).after(task)


@dsl.pipeline(name="literal")
def literal(claim: str, secret: str) -> dict:
    task = name_paths(given="/ilab-claim/file", listed=["/ilab-claim", "/ilab-claim/none"])
    kubernetes.mount_pvc(task, claim, "/ilab-claim")
    kubernetes.mount_pvc(task, claim, "/mnt/ilab-part", sub_path="part/of/it")
    kubernetes.use_secret_as_volume(task, secret, "/run/ilab-secret")
    kubernetes.empty_dir_mount(task, "scratch", "/ilab-scratch")
    return task.output


@dsl.pipeline(name="hiding")
def hiding(claim: str) -> None:
    """Its claim would hide the whole machine."""
    task = wants_pytest()
    kubernetes.mount_pvc(task, claim, "/")


@dsl.pipeline(name="fields")
def fields() -> dict:
    task = read_variables(names=["NAME", "UID", "TEAM", "NONE", "NOTE", "RUN", "NODE", "POD_IP"])
    kubernetes.add_pod_label(task, "team", "x")
    kubernetes.add_pod_annotation(task, "example.org/note", "some text")
    for name, path in (
        ("NAME", "metadata.name"),
        ("UID", "metadata.uid"),
        ("TEAM", "metadata.labels['team']"),
        ("NONE", "metadata.labels['none']"),
        ("NOTE", "metadata.annotations['example.org/note']"),
        ("RUN", "metadata.labels['pipeline/runid']"),
        ("NODE", "spec.nodeName"),
        ("POD_IP", "status.podIP"),
    ):
        kubernetes.use_field_path_as_env(task, name, path)
    return task.output


@dsl.pipeline(name="fieldless")
def fieldless() -> None:
    """Wants what no process has."""
    task = read_variables(names=[])
    kubernetes.use_field_path_as_env(task, "PROJECT", "metadata.namespace")
    kubernetes.use_field_path_as_env(task, "ACCOUNT", "spec.serviceAccountName")
    copied = kubernetes.CreatePVC(
        pvc_name_suffix="-copy", access_modes=["ReadWriteOnce"], size="1Gi", data_source={"kind": "x", "name": "y"}
    )
    kubernetes.CreatePVC(pvc_name="old", access_modes=["ReadWriteOnce"], size="1Gi", volume_name="pv-1").after(copied)


@dsl.pipeline(name="demanding")
def demanding(selector: dict = {}) -> dict:  # noqa: B006
    """Asks for a pod that is not like other pods."""
    claim = kubernetes.CreatePVC(
        pvc_name_suffix="-x", access_modes=["ReadWriteMany"], size="1Gi", storage_class_name="nfs"
    )
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"])
    task = read_variables(names=[])
    task.set_cpu_limit("2").set_memory_limit("4Gi").set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    kubernetes.add_node_selector_json(task, selector)
    kubernetes.add_toleration(task, key="gpu", operator="Exists")
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "a", "operator": "In", "values": ["b"]}])
    kubernetes.set_image_pull_policy(task, "Always")
    kubernetes.set_security_context(task, run_as_user=1000)
    kubernetes.add_pod_label(task, "team", "x")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit="1Gi")
    return task.output


@dsl.pipeline(name="in-tmp")
def in_tmp() -> list:
    with dsl.ParallelFor([1, 2]) as number:
        made = keep_in_tmp(number=number)
        read = read_model(model=made.outputs["model"])
    return dsl.Collected(read.output)


@dsl.pipeline(name="filling")
def filling(data_dir: str) -> None:
    note(data_dir=data_dir, name="after", given=fill(data_dir=data_dir).output)


@dsl.pipeline(name="dropping")
def dropping(claim: str) -> None:
    kubernetes.DeletePVC(pvc_name=claim)


PIPELINES = (
    *(chain, waiting, hanging, timed, meeting, retried, told, checked, secretive, installing, satisfied, deleting),
    *(literal, hiding, in_tmp, fields, fieldless, demanding, dropping, filling),
)


if __name__ == "__main__":
    for pipeline in PIPELINES:
        compiler.Compiler().compile(pipeline, str(Path(sys.argv[1], f"{pipeline.name}.yaml")))
    compile_pipeline(ending, Path(sys.argv[1], "ending.yaml"))
