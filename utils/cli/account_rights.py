"""Whether the service account of a server's runs may train in pods: told before a run is submitted."""

from collections.abc import Mapping
from typing import Any

import click

from utils.cluster.cluster import Cluster
from utils.cluster.connection import connect
from utils.cluster.errors import ClusterError
from utils.cluster.kinds import LOCAL_REVIEW
from utils.errors import PrerequisiteError
from utils.runners.kfp.connection import CLUSTER_PATIENCE, Server
from utils.stages.prerequisites.rights import Right, grant_command
from utils.stages.train.choice import KINDS_OF, VERBS, served


def tell_missing_rights(server: Server, arguments: Mapping[str, Any]) -> None:
    """Print the commands that give the account of runs the rights to train, if it lacks them.

    The user asks about the account, which an administrator of the project may (LocalSubjectAccessReview). Where the
    user may not, the run's own prerequisites find it.
    """
    asked = arguments.get("train_launcher", "process")
    if not server.account or asked == "process":
        return
    try:
        cluster = connect(server.namespace, patience=CLUSTER_PATIENCE)
        lacking = [missing(cluster, server.account, one) for one in ([asked] if asked in KINDS_OF else KINDS_OF)]
    except (ClusterError, PrerequisiteError) as error:
        click.echo(f"whether {server.account} may train in pods can't be seen: {error}", err=True)
        return
    lacking = [rights for rights in lacking if rights is not None]
    if lacking and all(lacking):
        for right in lacking[0] or ():
            what = f"{', '.join(right.verbs)} {right.kind.plural} in {cluster.namespace}"
            click.echo(f"warning: the service account {server.account} may not {what}", err=True)
            click.echo(f"  {grant_command(cluster, right, server.account)}", err=True)


def missing(cluster: Cluster, account: str, launcher: str) -> list[Right] | None:
    """What the account may not do that a launcher does; None: the cluster does not serve its kinds."""
    kinds = KINDS_OF[launcher]
    if not served(cluster, kinds[0]):
        return None
    refused = [
        Right(kind, [verb for verb in VERBS if not may(cluster, account, kind.resource, verb)]) for kind in kinds
    ]
    return [right for right in refused if right.verbs]


def may(cluster: Cluster, account: str, what: str, verb: str) -> bool:
    """Whether a service account of the namespace may do this there."""
    resource, _, group = what.partition(".")
    namespace, accounts = cluster.namespace, "system:serviceaccounts"
    attributes = {"namespace": namespace, "group": group, "resource": resource, "verb": verb}
    spec = {
        "user": f"system:serviceaccount:{namespace}:{account}",
        "groups": [accounts, f"{accounts}:{namespace}", "system:authenticated"],
        "resourceAttributes": attributes,
    }
    review = cluster.request("create", LOCAL_REVIEW, body={"metadata": {"namespace": namespace}, "spec": spec})
    return bool(review["status"]["allowed"])
