"""A task that waits for a person, on a cluster: the run ends, and continues when it is resumed."""

import json

from tests.fakes.node import Act, values
from tests.runners.kubernetes.conftest import Lab
from tests.runners.kubernetes.pipelines import beside, two
from tests.runners.kubernetes.test_command import Command
from utils.ir.model import TaskState

WAITS = Act(
    lines=("at work", "error: waiting for review of 2 samples: s3://b/reviews/r1/page.html", "  cause: a", "  next: b"),
    exit_code=1,
)


def test_run_that_waits_ends_and_resume_continues_it(lab: Lab) -> None:
    lab.node.play("make", WAITS, Act(values(Output=7)))
    result = lab.run(two)
    assert result.state is TaskState.WAITING and "waiting for review of 2 samples" in result.error
    assert lab.record()["run.json"]["state"] == "WAITING"
    assert lab.record()["task.make.json"]["state"] == "WAITING"
    assert lab.node.created() == ["make"] and lab.left() == []
    assert lab.run(two).state is TaskState.WAITING, "started again without resume, nothing is done"
    assert lab.node.created() == ["make"]
    assert lab.run(two, resume=True).state is TaskState.SUCCEEDED
    assert lab.node.created() == ["make", "make", "take"]


def test_other_tasks_are_stopped_while_one_waits(lab: Lab) -> None:
    lab.node.play("make", WAITS)
    lab.node.play("take", Act(holds=True))
    assert lab.run(beside).state is TaskState.WAITING
    assert lab.message("exit-handler-1/take") == "stopped"
    assert lab.left() == []


def test_command_ends_with_a_code_of_its_own(lab: Lab) -> None:
    command = Command(lab)
    lab.node.play("prerequisites", WAITS)
    ended = command.run()
    assert ended.exit_code == 5 and "prerequisites is waiting for review of 2 samples" in ended.stderr
    assert "it waits since earlier; nothing was done now" in command.run().stderr
    assert json.loads(command("status", "-o", "json").stdout)[0]["state"] == "WAITING"
