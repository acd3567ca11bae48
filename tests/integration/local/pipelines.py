"""Small pipelines for the tests of the local runner, compiled as a user's would be.

Components know their surroundings through parameters alone. `note` files on the volume tell how often a task ran.
"""

from pathlib import Path

from kfp import compiler, dsl, kubernetes

IMAGE = "quay.io/example/python:3.11"


def component(func):  # type: ignore[no-untyped-def]
    return dsl.component(func, base_image=IMAGE, install_kfp_package=False)


@component
def note(data_dir: str, name: str, given: str = "") -> str:
    """Adds a line to the file `name`; prints `half` in the middle of its work."""
    with open(f"{data_dir}/{name}", "a") as file:
        file.write("ran\n")
    print("half")
    return f"{given}{name}"


@component
def finish(status: dsl.PipelineTaskFinalStatus, data_dir: str):
    with open(f"{data_dir}/finish", "a") as file:
        file.write(f"{status.state}\n")


@component
def hang(data_dir: str, name: str):
    """Starts a child in a session of its own, writes both ids, and works until it is stopped."""
    import os
    import signal
    import subprocess
    import sys
    import time

    if os.path.exists(f"{data_dir}/go"):
        return
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    with open(f"{data_dir}/{name}.part", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(f"{data_dir}/{name}.part", f"{data_dir}/{name}")
    print("half")
    if os.path.exists(f"{data_dir}/stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


@component
def meet(data_dir: str, me: str, other: str) -> bool:
    """Whether the other task was there at the same time."""
    import os
    import time

    open(f"{data_dir}/{me}", "w").close()
    deadline = time.monotonic() + 2
    while not os.path.exists(f"{data_dir}/{other}") and time.monotonic() < deadline:
        time.sleep(0.01)
    met = os.path.exists(f"{data_dir}/{other}")
    os.remove(f"{data_dir}/{me}")
    if met:
        open(f"{data_dir}/met", "w").close()
    return met


@component
def fail_first(data_dir: str, times: int) -> str:
    """Fails that many times."""
    import os

    tries = len([f for f in os.listdir(data_dir) if f.startswith("try-")])
    open(f"{data_dir}/try-{tries}", "w").close()
    if tries < times:
        raise ValueError(f"try {tries}")
    return f"try {tries}"


@component
def prerequisites(ok: bool):
    if not ok:
        raise SystemExit("error: the bucket is gone\n  cause: deleted\n  next: make it")


@component
def read_secrets(folder: str, maps: str, absent: str) -> dict:
    """Digests of what it was given, and, carelessly, the values themselves on its output."""
    import hashlib
    import os

    def digest(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    print("token:", open(f"{folder}/api_token").read(), os.environ["TOKEN"])
    return {
        "file": digest(open(f"{folder}/api_token").read()),
        "variable": digest(os.environ["TOKEN"]),
        "map": open(f"{maps}/region").read(),
        "map_variable": os.environ["REGION"],
        "absent": os.listdir(absent) if os.path.isdir(absent) else [],
        "python": __import__("sys").executable,
    }


@dsl.pipeline(name="chain")
def chain(claim: str):
    """first → second → third, then the exit task."""
    last = finish(data_dir="/data")
    kubernetes.mount_pvc(last, claim, "/data")
    with dsl.ExitHandler(last):
        given = ""
        for name in ("first", "second", "third"):
            task = note(data_dir="/data", name=name, given=given)
            kubernetes.mount_pvc(task, claim, "/data")
            given = task.output


@dsl.pipeline(name="hanging")
def hanging(claim: str, seconds: int = 0):
    """done → two that hang, then the exit task."""
    last = finish(data_dir="/data")
    kubernetes.mount_pvc(last, claim, "/data")
    with dsl.ExitHandler(last):
        first = note(data_dir="/data", name="first")
        kubernetes.mount_pvc(first, claim, "/data")
        for name in ("one", "two"):
            task = hang(data_dir="/data", name=name).after(first)
            kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="timed")
def timed(claim: str):
    task = hang(data_dir="/data/deep/er", name="one")
    kubernetes.mount_pvc(task, claim, "/data")
    kubernetes.set_timeout(task, 1)


@dsl.pipeline(name="meeting")
def meeting(claim: str):
    for me, other in (("a", "b"), ("b", "a")):
        task = meet(data_dir="/data", me=me, other=other)
        kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="retried")
def retried(claim: str, times: int):
    task = fail_first(data_dir="/data", times=times)
    task.set_retry(num_retries=2, backoff_duration="0s")
    kubernetes.mount_pvc(task, claim, "/data")


@dsl.pipeline(name="checked")
def checked(ok: bool):
    prerequisites(ok=ok)


@dsl.pipeline(name="secretive")
def secretive(secret: str, absent: str = "absent") -> dict:
    task = read_secrets(folder="/mnt/secret", maps="/mnt/map", absent="/mnt/absent")
    kubernetes.use_secret_as_volume(task, secret, "/mnt/secret")
    kubernetes.use_secret_as_volume(task, absent, "/mnt/absent", optional=True)
    kubernetes.use_config_map_as_volume(task, "place", "/mnt/map")
    kubernetes.use_secret_as_env(task, secret, {"api_token": "TOKEN"})
    kubernetes.use_config_map_as_env(task, "place", {"region": "REGION"})
    return task.output


@dsl.component(base_image=IMAGE, packages_to_install=["no-such-package-at-all>=3"])
def wants_a_package():
    pass


@dsl.pipeline(name="installing")
def installing():
    wants_a_package()


@dsl.component(base_image=IMAGE, packages_to_install=["pytest>=7"])
def wants_pytest() -> str:
    import pytest

    return pytest.__name__


@dsl.pipeline(name="satisfied")
def satisfied() -> str:
    return wants_pytest().output


@dsl.pipeline(name="volume")
def volume(ok: bool, keep: bool = False):
    """A claim of the run, deleted by the exit task."""
    made = kubernetes.CreatePVC(access_modes=["ReadWriteMany"], size="1Gi", storage_class_name="", pvc_name_suffix="-v")
    task = note(data_dir="/data", name="first")
    kubernetes.mount_pvc(task, made.outputs["name"], "/data")
    check = prerequisites(ok=ok).after(task)
    gone = kubernetes.DeletePVC(pvc_name=made.outputs["name"]).after(check)
    gone.ignore_upstream_failure()


PIPELINES = {p.name: p for p in (chain, hanging, timed, meeting, retried, checked, secretive, installing, satisfied)}


def compile_all(folder: Path) -> None:
    """Write `<name>.yaml` of every pipeline into folder."""
    for name, pipeline in PIPELINES.items():
        compiler.Compiler().compile(pipeline, str(folder / f"{name}.yaml"))


if __name__ == "__main__":
    import sys

    compile_all(Path(sys.argv[1]))
