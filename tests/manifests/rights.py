"""The rights that prerequisites ask for, as a Role's rules have them."""

from utils.stages.prerequisites.rights import resource_of, rights_of_run


def asked_rights(launcher: str) -> list[tuple[str, str, list[str], str]]:
    """API group, resource, verbs, and what a run loses without them."""
    rights = rights_of_run(launcher)
    return [(right.kind.resource.partition(".")[2], resource_of(right), right.verbs, right.loss) for right in rights]
