"""The commands of standalone.py: `run` with its subcommands, and `show`."""

import sys
from dataclasses import replace
from typing import Any

import click
import yaml

from utils.errors import IlabError
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

    Each task is a Job, training a PyTorchJob; this process only needs access to the API.

    Exit codes: 0 success, 1 a failed run, 2 wrong usage, 3 failed prerequisites or no server, 4 a cluster that
    went away for too long (started again, the run goes on), 130 interrupted.
    """


@main.group(cls=SectionedGroup, invoke_without_command=True)
@all_options
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Run everything, or with a subcommand a part of it.

    Needed: credentials of object store and judge, each by its Secret or by flags, and with --sdg-in-cluster those of
    the teacher.

    Flags stand before the subcommand. Subcommands work on one volume, that of the run --run-id: `sdg` or
    `sdg-data-fetch`, `train` for phase 1 and for phase 2, `evaluation` for mt-bench and for final, then
    `upload-trained-model` are the same as a whole run. Give all of them the same --run-id, --storage-class and
    --storage-size, or none. The volume stays; `kubectl delete configmap ilab-ID` deletes it with all else of the run,
    and so does --keep-volume never with the last subcommand, or on_failure when it has published.
    """
    context.obj = given(context, **values)
    if context.invoked_subcommand is None:
        start(context.obj)


def _subcommand(name: str, help: str, *flags: str) -> None:
    """Add a subcommand; it takes some flags of `run` after its name, too."""

    def call(context: click.Context, /, **values: Any) -> None:
        group: Given = context.obj
        own = {key: value for key, value in values.items() if value is not None}
        start(Given({**group.values, **own}, group.typed), name)

    command: Any = click.pass_context(call)
    for flag in flags:
        command = option_of(FLAGS[flag])(command)
    # As short_help, too: in the list of subcommands click would cut it in mid-sentence.
    run.command(name, help=help, short_help=help)(command)


_subcommand("sdg-data-fetch", "Make the volume, bring the archive with model, taxonomy and data to it, tokenise.")
_subcommand("sdg", "Make the volume, bring model and taxonomy to it, generate data with the teacher, tokenise.")
_subcommand("train", "Train one phase: 1 on knowledge, 2 on skills.", "training_phase", "model_to_train")
_subcommand("evaluation", "mt-bench: score the checkpoints. final: compare the best with the base model.", "eval_type")
_subcommand("upload-trained-model", "Bring scores and candidate model to the object store, with a report.")


def start(flags: Given, command: str = "") -> None:
    """Run, or print what would be made; ends the process with the run's exit code."""
    from utils.cli.cluster_run import print_dry_run
    from utils.queues import longest_wait
    from utils.standalone.plan import make_plan, resolve
    from utils.standalone.settings import runner_settings

    settings = runner_settings(flags)
    plan = make_plan(flags, command)
    settings = replace(settings, queue_seconds=longest_wait(plan.pipeline, plan.arguments))
    if flags["dry_run"]:
        print_dry_run(plan.pipeline, dict(plan.arguments), settings, plan.run_id, plan.skip, plan.own_objects)
        return
    from utils.cli.cluster_run import run_on_kubernetes
    from utils.cluster import connect, get

    cluster = connect(settings.namespace, settings.kubeconfig, settings.context)
    plan = resolve(plan, lambda kind, name: get(cluster, kind, name), cluster.namespace)
    code = run_on_kubernetes(
        plan.pipeline,
        dict(plan.arguments),
        settings,
        plan.run_id,
        output=flags["output"],
        skip=plan.skip,
        make=plan.own_objects,
        again=f"the same command with --run-id {plan.run_id} --resume",
    )
    sys.exit(code)


@main.command(short_help="Print the Job that runs this script in the cluster.")
@click.option("--namespace", default="default", show_default=True, help="Namespace of the Job and of the run.")
@click.option("--name", default="distributed-ilab", show_default=True, help="Name of the Job, and of the run.")
@click.option("--image", required=True, help="Image with Python 3.11, kubernetes, click, PyYAML and boto3.")
@click.option("--service-account", help="Service account of the Job and of the run's pods.")
@click.option("--script-configmap", required=True, help="ConfigMap with the script.")
@click.option(
    "--script-name",
    default="standalone",
    show_default=True,
    help="Key of the script in the ConfigMap: standalone.py after `kubectl create configmap NAME --from-file "
    "dist/standalone.py`.",
)
@click.option("--args", multiple=True, required=True, help="Argument of `run`, one each time.")
@click.option(
    "--rbac", is_flag=True, help="Print before the Job its ServiceAccount, Role and RoleBinding, of its name."
)
def show(args: tuple[str, ...], rbac: bool, service_account: str | None, **values: str) -> None:
    """Print the Job that runs this script in the cluster, out of a ConfigMap."""
    from utils.cluster.rbac import role
    from utils.standalone.show import job_manifest, secrets_of

    account = service_account or (values["name"] if rbac else "")
    objects: list[dict[str, Any]] = []
    if rbac:
        named, made = secrets_of(values["name"], args)
        # Not the name of the Role in manifests/: that one has other rules, and would be replaced by this.
        objects += role(values["namespace"], account, named, made, values["name"])
    objects.append(job_manifest(service_account=account, args=args, **values))
    click.echo(yaml.safe_dump_all(objects, sort_keys=False, width=110), nl=False)
