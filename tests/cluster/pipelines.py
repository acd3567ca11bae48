"""Small pipelines for the cluster tests: the product's own volume, training and clean-up around tasks of seconds.

`python -m tests.cluster.pipelines FOLDER` compiles them, as a user's would be.
"""

import sys
from pathlib import Path
from typing import Any

from kfp import dsl, kubernetes

from components.clean_up import clean_up
from components.compile import compile_pipeline
from components.create_volume import create_volume
from components.report import report
from components.train import train
from utils.images import INSTRUCTLAB, NOTEBOOK
from utils.names import API_LABEL

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER


def component(func: Any) -> Any:
    return dsl.component(func, base_image=NOTEBOOK, install_kfp_package=False)


@component
def note(data_dir: str, name: str, given: str = "") -> str:
    """Adds a line to the file `name` on the volume."""
    from pathlib import Path

    with Path(data_dir, name).open("a") as file:
        file.write("ran\n")
    print(f"noted {name} after {given}", flush=True)
    return f"{given}{name} "


@component
def hold(data_dir: str, name: str) -> str:
    """Leaves a line in the file `name`, and works until the file `go` is on the volume; it says how far it is."""
    import time
    from pathlib import Path

    with Path(data_dir, name).open("a") as file:
        file.write("ran\n")
    count = 0
    while not Path(data_dir, "go").exists():
        count += 1
        print(f"line {count}", flush=True)
        time.sleep(0.2)
    return f"held after {count} lines"


@component
def fail(data_dir: str) -> None:
    """Fails, with a reason on its output."""
    raise SystemExit("error: the tide is out\n  cause: the moon\n  next: wait six hours")


@component
def read_secret(folder: str, key: str) -> int:
    """Prints the length of a key of the Secret; a missing key is reported as the product's stages do."""
    from pathlib import Path

    file = Path(folder, key)
    if not file.exists():
        raise SystemExit(f"error: the Secret has no key {key}\n  cause: it was left out\n  next: add it")
    return len(file.read_text())


@component
def decide(data_dir: str, published: bool, needs: str) -> None:
    """Writes what publish writes to the volume if the candidate is published, or if the gate rejects it.

    Fails without the file `needs` on the volume, if it is told one.
    """
    import json
    from pathlib import Path

    if needs and not Path(data_dir, needs).exists():
        raise SystemExit(f"error: there is no {needs}\n  cause: nobody made it\n  next: make it")
    gate = {"passed": published, "checks": [{"name": "min_mt_bench", "limit": 9, "value": 5, "passed": published}]}
    result = {"published": published, "key": "a.tar.gz" if published else "", "size": 1, "sha256": "", "gate": gate}
    marker = {"stage": "publish", "inputs": {}, "inputs_hash": "1", "versions": {}, "outputs": {}, "seconds": 1.0}
    done = Path(data_dir, "done")
    done.mkdir(exist_ok=True)
    (done / "publish.json").write_text(json.dumps({**marker, "finished": "2026-01-31T12:00:00Z", "result": result}))


def with_api(task: dsl.PipelineTask) -> dsl.PipelineTask:
    kubernetes.add_pod_label(task, API_LABEL, "true")
    return task


def with_volume(task: dsl.PipelineTask, claim: Any) -> dsl.PipelineTask:
    kubernetes.mount_pvc(task, claim, "/data")
    return task


def last_task(keep_volume: Any = "never") -> dsl.PipelineTask:
    return with_api(clean_up(run_id=RUN_ID, keep_volume=keep_volume))


def volume(storage_class: str, size: Any = "1Gi") -> Any:
    """The name of the run's claim."""
    return with_api(
        create_volume(run_id=RUN_ID, size=size, storage_class=storage_class, access_mode="ReadWriteMany")
    ).output


@dsl.pipeline(name="held")
def held(storage_class: str, keep_volume: str = "never", size: str = "1Gi") -> None:
    """create-volume → note → hold → note-2, then clean-up."""
    with dsl.ExitHandler(last_task(keep_volume)):
        claim = volume(storage_class, size)
        first = with_volume(note(data_dir="/data", name="first"), claim)
        middle = with_volume(hold(data_dir="/data", name="held").after(first), claim)
        with_volume(note(data_dir="/data", name="last", given=first.output).after(middle), claim)


@dsl.pipeline(name="short")
def short(storage_class: str) -> None:
    """create-volume → note, then clean-up."""
    with dsl.ExitHandler(last_task()):
        with_volume(note(data_dir="/data", name="first"), volume(storage_class))


@dsl.pipeline(name="failing")
def failing(storage_class: str) -> None:
    """create-volume → note → hold beside fail, then clean-up."""
    with dsl.ExitHandler(last_task()):
        claim = volume(storage_class)
        first = with_volume(note(data_dir="/data", name="first"), claim)
        with_volume(hold(data_dir="/data", name="held").after(first), claim)
        with_volume(fail(data_dir="/data").after(first), claim)


@dsl.pipeline(name="ending")
def ending(published: bool, storage_class: str = "", keep_volume: str = "on_failure", needs: str = "") -> None:
    """create-volume → decide → report, then clean-up: how a run of ours ends."""
    with dsl.ExitHandler(last_task(keep_volume)):
        claim = volume(storage_class)
        decided = with_volume(decide(data_dir="/data", published=published, needs=needs), claim)
        store = {"store_secret_dir": "/no", "data_key": "", "ca_file": ""}
        last = report(data_dir="/data", run_id=RUN_ID, notes=[], name="", **store)
        with_api(with_volume(last.after(decided), claim))


@dsl.pipeline(name="secretive")
def secretive(secret: str, key: str, storage_class: str) -> None:
    """create-volume → a task with a Secret, then clean-up."""
    with dsl.ExitHandler(last_task()):
        task = with_volume(read_secret(folder="/mnt/secret", key=key), volume(storage_class))
        kubernetes.use_secret_as_volume(task, secret, "/mnt/secret")


@dsl.pipeline(name="training")
def training(
    storage_class: str,
    workers: int = 2,
    gpus: int = 0,
    epochs: int = 1,
    pending_timeout: str = "2m",
    timeout: str = "10m",
) -> None:
    """create-volume → hold, while a volume as data processing leaves it is put there → train, then clean-up."""
    with dsl.ExitHandler(last_task()):
        claim = volume(storage_class)
        prepared = with_volume(hold(data_dir="/data", name="held"), claim)
        task = train(
            phase=1,
            data_dir="/data",
            run_id=RUN_ID,
            launcher="pytorchjob",
            image=INSTRUCTLAB,
            model="",
            num_epochs=epochs,
            effective_batch_size=4,
            learning_rate=1e-2,
            num_warmup_steps=0,
            save_samples=0,
            max_batch_len=1000,
            max_seq_len=512,
            seed=42,
            keep_checkpoints=0,
            cpu_offload=True,
            num_workers=workers,
            gpu_per_worker=gpus,
            gpu_identifier="nvidia.com/gpu",
            cpu_per_worker="900m",
            memory_per_worker="2Gi",
            tolerations=[],
            node_selectors={},
            queue="",
            queue_timeout="24h",
            volume_claim=claim,
            pending_timeout=pending_timeout,
            timeout=timeout,
            force=False,
            progress=True,
            grace_period="30s",
            flash_attention=True,
            strategy="phased",
            checkpoint_dtype="auto",
            algorithm="sft",
            algorithm_options={},
            store_secret_dir="",
        ).after(prepared)
        with_api(with_volume(task, claim))


PIPELINES = (held, short, failing, ending, secretive, training)


if __name__ == "__main__":
    for pipeline in PIPELINES:
        compile_pipeline(pipeline, Path(sys.argv[1], f"{pipeline.name}.yaml"))
