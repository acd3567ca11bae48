"""A run that is started on two hosts: the last start continues it, the first one ends and deletes nothing."""

import os
import signal
import socket
from pathlib import Path

import pytest
from kfp import dsl

from tests.fakes.node import Act
from tests.ir.memory_runner import component
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import after
from utils.errors import UsageError
from utils.ir.model import Event, TaskState
from utils.runners.kubernetes.run_object import TakenOver


@component
def first(n: int) -> None:
    pass


@component
def last(n: int) -> None:
    pass


@dsl.pipeline(name="handed-over")
def pipeline() -> None:
    with dsl.ExitHandler(after()):
        last(n=1).after(first(n=1))


@dsl.pipeline(name="other")
def other() -> None:
    first(n=2)


@pytest.mark.parametrize("ends", ["the task it follows", "Ctrl-C"])
def test_first_process_stops_and_deletes_nothing(lab: Lab, tmp_path: Path, ends: str) -> None:
    lab.node.play("first", Act(holds=True))

    def take_over(event: Event) -> None:
        if not lab.node.objects["pods"]:
            return
        lab.on_event = lambda event: None
        lab.take_over(host="b", pid=7, since="2026-01-01T00:00:00Z")
        if ends == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            lab.node.finish(*lab.node.objects["jobs"])

    lab.on_event = take_over
    with pytest.raises(TakenOver, match="process 7 on b took it over at 2026-01-01"):
        lab.run(pipeline)
    assert lab.node.created() == ["first"]  # no exit task, which would delete the volume
    assert len(lab.node.objects["jobs"]) == 1
    assert lab.record()["run.json"]["state"] == "RUNNING"
    if ends == "Ctrl-C":
        lab.node.finish(*lab.node.objects["jobs"])
    assert lab.run(pipeline, home=tmp_path / "elsewhere").state is TaskState.SUCCEEDED
    holder = lab.record()["holder.json"]
    assert (holder["pid"], holder["host"], holder["since"][:2]) == (os.getpid(), socket.gethostname(), "20")
    assert {task: play.made for task, play in lab.node.plays.items()} == {"first": 1, "last": 1, "after": 1}


def test_refused_start_takes_nothing_over(lab: Lab) -> None:
    lab.run(pipeline)
    lab.take_over(host="b", pid=7, since="2026-01-01T00:00:00Z")
    lab.run(pipeline)
    with pytest.raises(UsageError, match="another one"):
        lab.run(other)
    assert lab.record()["holder.json"]["host"] == "b"
