"""The Role: only what is needed, and no more of Secrets than their names."""

from typing import Any

from utils.cluster.rbac import ROLE, role, rules


def rights(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(resource, verb) for rule in found for resource in rule["resources"] for verb in rule["verbs"]}


def test_secrets_may_only_be_read_and_only_by_name() -> None:
    first, *rest = rules(["teacher", "judge"])
    assert first == {
        "apiGroups": [""],
        "resources": ["secrets"],
        "verbs": ["get"],
        "resourceNames": ["teacher", "judge"],
    }
    assert not [rule for rule in rest if "secrets" in rule["resources"]]
    assert not [rule for rule in rules() if "secrets" in rule["resources"]]


def test_secrets_from_flags_may_be_created_and_deleted_by_name() -> None:
    named = [rule for rule in rules(own_secrets=["ilab-r1-judge"]) if "secrets" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in named] == [
        (["create"], None),
        (["get", "delete"], ["ilab-r1-judge"]),
    ]


def test_role_has_no_wildcard_and_no_right_that_grants_others() -> None:
    everything = rules(["s"], ["o"])
    assert "*" not in str(everything)
    escalating = {"roles", "rolebindings", "pods/exec", "pods/attach", "serviceaccounts/token", "clusterroles"}
    assert not {resource for resource, _ in rights(everything)} & escalating


def test_role_is_bound_to_the_account_in_its_namespace() -> None:
    account, made, binding = role("lab", "walker", ["s"])
    assert [m["kind"] for m in (account, made, binding)] == ["ServiceAccount", "Role", "RoleBinding"]
    assert {m["metadata"]["namespace"] for m in (account, made, binding)} == {"lab"}
    assert made["rules"] == rules(["s"])
    assert made["metadata"]["name"] == binding["roleRef"]["name"] == ROLE
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "walker", "namespace": "lab"}]
    assert role("lab")[0]["metadata"]["name"] == ROLE
