"""The compiled pipeline as plain dataclasses, and the types that walker and runner exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

# --- exchanged between walker and runner ---------------------------------------------------------------------------


class TaskState(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELED = "CANCELED"
    RETRYING = "RETRYING"
    WAITING = "WAITING"
    """For a person; the run has ended, and continues when it is resumed."""


ENDED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELED, TaskState.WAITING})
BROKEN = frozenset({TaskState.FAILED, TaskState.WAITING})
"""States of a task after which no other starts."""

Progress = tuple[float, float, str]
"""(done, total, unit)."""

EARLIER = "finished earlier"
"""The message of a task that is not repeated because an earlier walk finished it."""
STOPPED = "stopped"
"""The message of a task that was stopped because another one failed."""


@dataclass(frozen=True)
class Artifact:
    """One artifact: `type` is the schema title, such as "system.Model"; `uri` is where its content is."""

    name: str
    type: str
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mount:
    """A volume in the task's file system.

    `kind` is "claim", "secret", "config_map", "empty_dir" or "ephemeral"; `name` that of the claim, Secret, ConfigMap
    or volume. `options` holds the rest: `medium`, `size_limit` (empty_dir), `size`, `access_modes`, `storage_class`,
    `labels`, `annotations` (ephemeral).
    """

    kind: str
    name: str
    path: str
    sub_path: str = ""
    optional: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvFrom:
    """An environment variable taken from one key of a Secret or ConfigMap (`kind`: "secret", "config_map")."""

    kind: str
    name: str
    key: str
    env: str
    optional: bool = False


@dataclass(frozen=True)
class Task:
    """One execution of a component, everything resolved but paths.

    `id` is unique and stable within the run ("exit-handler-1/train-2", "for-loop-2/3/print-op"). `command` and `args`
    are templates still: `utils.ir.command.resolve_command` fills them. They come without the shell preamble that
    installs packages: that is `preamble`, to be put before `command` in an image that lacks them; `packages` are the
    requirements of the component itself (without kfp). `inputs` are typed parameter values, `input_types` and
    `output_parameters` their KFP types ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT",
    "TASK_FINAL_STATUS"); `output_artifacts` maps a name to its schema title, `output_lists` names those that are lists.
    `kubernetes` is the rest of the pod's settings with every name resolved: `node_selector`, `tolerations`, `labels`,
    `annotations`, `image_pull_secrets`, `image_pull_policy`, `field_env`, `security_context`, `node_affinity`,
    `pod_affinity`, `resources`; empty keys are left out.
    """

    id: str
    name: str
    component: str
    image: str
    command: tuple[Any, ...]
    args: tuple[Any, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    input_types: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, list[Artifact]] = field(default_factory=dict)
    output_parameters: Mapping[str, str] = field(default_factory=dict)
    output_artifacts: Mapping[str, str] = field(default_factory=dict)
    output_lists: frozenset[str] = frozenset()
    mounts: tuple[Mount, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    kubernetes: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    preamble: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    attempt: int = 0


@dataclass(frozen=True)
class Outputs:
    """The outputs of a task: typed parameter values, and artifacts by output name."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, list[Artifact]] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened to a task. `time` is in seconds since the epoch."""

    time: float
    task_id: str
    state: TaskState
    message: str = ""
    progress: Progress | None = None
    outputs: Outputs | None = None


@dataclass(frozen=True)
class RunIds:
    """The run as named by placeholders: {{$.pipeline_job_name}}, {{$.pipeline_job_uuid}}, …"""

    name: str
    id: str
    root: str = ""
    created: str = ""
    """Time of creation, UTC, RFC 3339."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended: SUCCEEDED, FAILED or CANCELED, with the first failure's message and the pipeline's outputs."""

    state: TaskState
    error: str = ""
    outputs: Outputs = field(default_factory=Outputs)


# --- the compiled pipeline -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter:
    """A parameter of a component. `default` counts only where `has_default`."""

    name: str
    type: str
    default: Any = None
    has_default: bool = False
    optional: bool = False
    description: str = ""
    literals: tuple[Any, ...] = ()
    """The only allowed values, if it is a `Literal`."""


@dataclass(frozen=True)
class ArtifactSpec:
    name: str
    type: str
    is_list: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Interface:
    """Inputs or outputs of a component."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a task input's value comes from; `kind` says which fields count.

    - "constant": `value`
    - "parent": the parent's input `name` (with `path` into a struct, from `parseJson(string_value)[…]`)
    - "output": output `name` of the task `task` (a list of them where the task is a loop)
    - "status": the final status of `task`
    """

    kind: str
    name: str = ""
    task: str = ""
    value: Any = None
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Retry:
    """`count` attempts after the first; before the n-th, `seconds * factor**(n-1)` pass.

    None starts later than `window` seconds after the first attempt started: KFP's backoff_max_duration is "the maximum
    duration during which the task will be retried".
    """

    count: int = 0
    seconds: float = 0.0
    factor: float = 2.0
    window: float = 3600.0


@dataclass(frozen=True)
class Loop:
    """A task repeated for each item, which its input `item` takes.

    The items are `items` if they are known, else the value of the task's own input `source`. `parallelism` 0 means no
    limit of its own.
    """

    item: str
    items: tuple[Any, ...] | None = None
    source: str = ""
    artifacts: bool = False
    parallelism: int = 0


@dataclass(frozen=True)
class Node:
    """A task of a DAG, before it runs."""

    key: str
    name: str
    component: str
    parameters: Mapping[str, Source] = field(default_factory=dict)
    artifacts: Mapping[str, Source] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    condition: str = ""
    always: bool = False
    """Runs when all upstream tasks ended, however they ended (exit tasks, ignore_upstream_failure)."""
    loop: Loop | None = None
    retry: Retry = field(default_factory=Retry)


@dataclass(frozen=True)
class Selector:
    """One producer of a DAG's output: output `output` of the inner task `task`."""

    task: str
    output: str


@dataclass(frozen=True)
class Container:
    """A container executor."""

    image: str
    command: tuple[Any, ...] = ()
    args: tuple[Any, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    preamble: tuple[str, ...] = ()
    lightweight: bool = False
    """A Python function carried in the command, which needs only an interpreter with kfp."""
    platform: Mapping[str, Any] = field(default_factory=dict)
    """The part of the platform document about this executor, unresolved."""


@dataclass(frozen=True)
class Importer:
    """Imports an existing artifact: `uri` is a constant, or empty if the input parameter `parameter` holds it."""

    type: str
    uri: str = ""
    parameter: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    download: bool = False


@dataclass(frozen=True)
class Dag:
    """Tasks, each after those that it needs. Each output lists its producers: the first that ran counts."""

    nodes: tuple[Node, ...] = ()
    parameters: Mapping[str, tuple[Selector, ...]] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[Selector, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """A component: one of `container`, `importer`, `dag` is set, or `unknown` names what the file has instead."""

    key: str
    inputs: Interface = field(default_factory=Interface)
    outputs: Interface = field(default_factory=Interface)
    executor: str = ""
    container: Container | None = None
    importer: Importer | None = None
    dag: Dag | None = None
    unknown: str = ""


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline. `root` is its outermost component; `text` the file as read."""

    name: str
    root: Component
    components: Mapping[str, Component]
    description: str = ""
    display_name: str = ""
    pipeline_root: str = ""
    sdk_version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The part of the platform document about the whole pipeline (`pipelineConfig`)."""
    text: str = ""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The pipeline's own parameters."""
        return self.root.inputs.parameters
