"""Permanently refused pods: how long they are waited for, and the remedy."""

import pytest

from utils.runners.kubernetes.refused import REFUSED_SECONDS, Refusals, remedy

NO_ACCOUNT = 'pod refused: error looking up service account lab/nobody: serviceaccount "nobody" not found'


@pytest.mark.parametrize("reason", ["quota: exceeded quota: gpus", "queue: suspended", "no pod yet: EOF", ""])
def test_temporary_refusal_is_waited_for(reason: str) -> None:
    refusals = Refusals()
    assert not any(refusals.stands(reason, now) for now in (0.0, REFUSED_SECONDS, 10 * REFUSED_SECONDS))


def test_refusal_becomes_final_after_some_time_for_every_task() -> None:
    refusals = Refusals()
    assert [refusals.stands(NO_ACCOUNT, now) for now in (5.0, 79.0, 80.0, 81.0)] == [False, False, True, True]
    assert not refusals.stands(NO_ACCOUNT + "!", 81.0)


def test_refusal_after_a_fix_starts_a_new_wait() -> None:
    refusals = Refusals()
    refusals.stands(NO_ACCOUNT, 0.0)
    refusals.over(NO_ACCOUNT)
    assert not refusals.stands(NO_ACCOUNT, 2 * REFUSED_SECONDS)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (NO_ACCOUNT, ["make the service account nobody", "--service-account", "kubectl -n lab get serviceaccounts"]),
        (
            'pod refused: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true), '
            'allowPrivilegeEscalation != false (container "main" must set '
            "securityContext.allowPrivilegeEscalation=false), restricted volume types "
            '(volumes "a", "b" use restricted volume type "hostPath")',
            [
                "in the --pod-overlay what restricted:latest does not allow: "
                "host namespaces, allowPrivilegeEscalation != false, restricted volume types"
            ],
        ),
        ("pod refused: no PriorityClass with name high was found", ["--pod-overlay", "the namespace lab"]),
    ],
)
def test_remedy_names_the_account_or_the_field(reason: str, told: list[str]) -> None:
    found = remedy(reason, "lab")
    assert [text for text in told if text not in found] == []
