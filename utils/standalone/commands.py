"""The commands of standalone.py: `run` with its subcommands, and `show`."""

import sys
from dataclasses import replace
from typing import Any

import click
import yaml

from utils.cli.options import NAMESPACE, SERVICE_ACCOUNT, ObjectName
from utils.errors import IlabError, UsageError
from utils.standalone.flags import FLAGS
from utils.standalone.options import Given, SectionedGroup, all_options, given, option_of

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class ErrorGroup(click.Group):
    """A group that prints our errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except IlabError as error:
            click.echo(error.render(), err=True)
            sys.exit(error.exit_code)


@click.group(cls=ErrorGroup, context_settings=_SETTINGS)
def main() -> None:
    """The InstructLab workflow on a Kubernetes cluster: synthetic data, two training phases, scores, a better model.

    Each task is a Job, and training is a PyTorchJob. This process only needs access to the Kubernetes API.

    Exit codes: 0 success; 1 the run failed; 2 wrong usage; 3 failed prerequisites or no server; 4 the run can no longer
    be followed and was left as it is (start it again with the same run id: it continues); 5 the run waits for review of
    its samples; 130 interrupted.
    """


@main.group(cls=SectionedGroup, invoke_without_command=True)
@all_options
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Run the whole workflow, or a part of it with a subcommand.

    Required: credentials of object store and judge, each by its Secret or by flags, and with --sdg-in-cluster those of
    the teacher.

    Put flags before the subcommand. Subcommands work on one volume, that of the run --run-id. A whole run corresponds
    to `sdg` or `sdg-data-fetch`, then `train` for phase 1 and for phase 2, then `evaluation` for mt-bench and for
    final, then `upload-trained-model`. Give all of them the same --run-id, --storage-class and --storage-size, or none.
    The volume is kept. To delete it with everything else of the run, use `kubectl delete configmap ilab-ID`, or give
    the last subcommand --keep-volume never, or on_failure, which deletes it if the candidate was published.
    """
    context.obj = given(context, **values)
    if context.invoked_subcommand is None:
        start(context.obj)


def _subcommand(name: str, help: str, *flags: str) -> None:
    """Add a subcommand; it also accepts some flags of `run` after its name."""

    def call(context: click.Context, /, **values: Any) -> None:
        group: Given = context.obj
        own = {key: value for key, value in values.items() if value is not None}
        start(Given({**group.values, **own}, group.typed), name)

    command: Any = click.pass_context(call)
    for flag in flags:
        command = option_of(FLAGS[flag])(command)
    # Also as short_help: in the list of subcommands, click would cut it in mid-sentence.
    run.command(name, help=help, short_help=help)(command)


_subcommand("sdg-data-fetch", "Create the volume, import the archive with model, taxonomy and data, tokenize.")
_subcommand("sdg", "Create the volume, import model and taxonomy, generate data with the teacher, tokenize.")
_subcommand("train", "Train one phase: 1 on knowledge, 2 on skills.", "training_phase", "model_to_train")
_subcommand("evaluation", "mt-bench: score the checkpoints. final: compare the best with the base model.", "eval_type")
_subcommand("upload-trained-model", "Upload scores and candidate model to the object store, with a report.")


def start(flags: Given, command: str = "") -> None:
    """Run, or print what would be created; ends the process with the run's exit code."""
    from utils.cli.cluster_run import print_dry_run, run_on_kubernetes
    from utils.cluster.connection import connect
    from utils.cluster.kinds import KINDS
    from utils.cluster.objects import get
    from utils.standalone.plan import make_plan, resolve
    from utils.standalone.request import run_request

    plan = make_plan(flags, command)
    request = run_request(plan)
    if flags["dry_run"]:
        if flags["output"] == "json" and "output" in flags.typed:
            raise UsageError("--output json can't be combined with --dry-run", "a dry run prints YAML", "leave one out")
        print_dry_run(request)
        return
    where = request.settings
    cluster = connect(where.namespace, where.kubeconfig, where.context)
    plan = resolve(plan, lambda kind, name: get(cluster, KINDS[kind], name), cluster.namespace)
    again = f"the same command with --run-id {plan.run_id} --resume"
    request = replace(request, arguments=plan.arguments, extras=plan.own_objects)
    sys.exit(run_on_kubernetes(request, flags["output"], again))


@main.command(short_help="Print the Job that runs this script in the cluster.")
@click.option(
    "--namespace", type=NAMESPACE, default="default", show_default=True, help="Namespace of the Job and of the run."
)
@click.option(
    "--name",
    type=ObjectName("Job", label=True),
    default="distributed-ilab",
    show_default=True,
    help="Name of the Job, and of the run.",
)
@click.option("--image", required=True, help="Image with Python 3.11, kubernetes, click, PyYAML and boto3.")
@click.option("--service-account", type=SERVICE_ACCOUNT, help="Service account of the Job and of the run's pods.")
@click.option("--script-configmap", type=ObjectName("ConfigMap"), required=True, help="ConfigMap with the script.")
@click.option(
    "--script-name",
    default="standalone",
    show_default=True,
    help="Key of the script in the ConfigMap: standalone.py after `kubectl create configmap NAME --from-file "
    "dist/standalone.py`.",
)
@click.option("--args", multiple=True, required=True, help="Argument of `run`. Repeat the flag for each argument.")
@click.option(
    "--rbac", is_flag=True, help="Also print a ServiceAccount, Role and RoleBinding with the name of the Job."
)
def show(args: tuple[str, ...], rbac: bool, service_account: str | None, **values: str) -> None:
    """Print the Job that runs this script in the cluster, from a ConfigMap."""
    from utils.cluster.rbac import role
    from utils.standalone.show import job_manifest, secrets_of

    account = service_account or (values["name"] if rbac else "")
    objects: list[dict[str, Any]] = []
    if rbac:
        named, made = secrets_of(values["name"], args)
        # Not the name of the Role in manifests/: that Role has other rules, and this one would replace it.
        objects += role(values["namespace"], account, named, made, values["name"])
    objects.append(job_manifest(service_account=account, args=args, **values))
    click.echo(yaml.safe_dump_all(objects, sort_keys=False, width=110), nl=False)
