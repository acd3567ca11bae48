"""Small pipelines for runs on the fake cluster."""

from kfp import dsl, kubernetes

from tests.ir.memory_runner import component


@component
def make(n: int) -> int:
    return n


@component
def take(n: int) -> None:
    pass


@component
def after(status: dsl.PipelineTaskFinalStatus) -> None:
    pass


@dsl.pipeline(name="two")
def two(n: int = 1) -> None:
    take(n=make(n=n).output)


@dsl.pipeline(name="beside")
def beside() -> None:
    with dsl.ExitHandler(after()):
        make(n=1)
        take(n=2)


@dsl.pipeline(name="tried")
def tried() -> None:
    take(n=1).set_retry(2, backoff_duration="0s")


@dsl.pipeline(name="mounted")
def mounted() -> None:
    claim = kubernetes.CreatePVC(pvc_name="c", access_modes=["ReadWriteMany"], size="1Gi", storage_class_name="")
    task = take(n=1)
    kubernetes.mount_pvc(task, claim.outputs["name"], "/data")
    take(n=2).after(task)


@dsl.pipeline(name="limited")
def limited() -> None:
    kubernetes.set_timeout(take(n=1), 1)


@dsl.pipeline(name="tried-once")
def tried_once() -> None:
    take(n=1)


@dsl.pipeline(name="alone")
def alone(n: int = 1) -> None:
    take(n=n)


@component
def to_file(n: int, text: dsl.OutputPath(str)) -> None:  # type: ignore[valid-type]  # the form that kfp reads
    pass


@dsl.container_component
def copies(  # the form of its parameters is the one that kfp reads
    a: dsl.OutputPath(str),  # type: ignore[valid-type]
    b: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> dsl.ContainerSpec:
    return dsl.ContainerSpec("image", ["cp"], [a, b])


@dsl.pipeline(name="files")
def files() -> None:
    to_file(n=1)
    copies()
