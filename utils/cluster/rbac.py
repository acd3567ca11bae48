"""The rights a run needs: the only place they are written down.

`manifests/` and `show --rbac` carry the same rules; 403 messages name them.
"""

from collections.abc import Sequence
from typing import Any

ROLE = "ilab-pipeline"
"""Name of the ServiceAccount, the Role and the RoleBinding in manifests/."""


def rules(secret_names: Sequence[str] = (), own_secrets: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The Role's rules: exactly what the runner and the components ask for.

    Args:
        secret_names: Secrets that may be read (`get`), each by name.
        own_secrets: Secrets that the run makes from flags: `create`, and `get` and `delete` of these names.
    """
    raise NotImplementedError


def role(
    namespace: str, service_account: str = ROLE, secret_names: Sequence[str] = (), own_secrets: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Manifests of the ServiceAccount, the Role and the RoleBinding, in the order to apply them."""
    raise NotImplementedError
