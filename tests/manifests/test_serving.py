"""What each release of OpenShift AI allows for teacher and judge, and that the manifests ask for no more."""

from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.manifests.settings import objects_of, root, settings

MODE = "serving.kserve.io/deploymentMode"
TIMEOUT = "haproxy.router.openshift.io/timeout"


@dataclass(frozen=True)
class Release:
    """What a release's sources say; the branches are rhoai-<version> of the repositories named.

    Attributes:
        modes: values of the annotation that lead to a server. kserve, pkg/constants/constants.go: its names, from 0.17
            with the old ones as synonyms; rhods-operator: from 3.0 "Only RawDeployment mode is supported"
            (api/datasciencecluster), the Knative parts are removed.
        token: RawDeployment has the proxy that checks tokens, on port 8443. kserve, OauthProxyPort.
        copied: the Route of RawDeployment gets the time-out annotation of the InferenceService.
            odh-model-controller, kserve_raw_route_reconciler.go.
        proxy: the proxy's own limit is `spec.predictor.timeout`. kserve, deployment_reconciler.go, --upstream-timeout.
    """

    modes: frozenset[str]
    token: bool
    copied: bool
    proxy: bool


BOTH = frozenset({"Serverless", "RawDeployment"})
RAW = frozenset({"RawDeployment"})
NEW_NAMES = frozenset({"RawDeployment", "Standard"})
RELEASES = {
    "2.16": Release(BOTH, token=False, copied=False, proxy=False),
    "2.22": Release(BOTH, token=True, copied=True, proxy=False),
    "2.25": Release(BOTH, token=True, copied=True, proxy=True),
    "3.0": Release(RAW, token=True, copied=True, proxy=True),
    "3.2": Release(RAW, token=True, copied=True, proxy=True),
    "3.3": Release(RAW, token=True, copied=True, proxy=True),
    "3.4": Release(NEW_NAMES, token=True, copied=True, proxy=True),
    "3.5": Release(NEW_NAMES, token=True, copied=True, proxy=True),
}
SUPPORTED = ("2.25", "3.0", "3.2", "3.3", "3.4", "3.5")


def service(folder: str) -> dict[str, Any]:
    (found,) = [one for one in objects_of(folder) if one["kind"] == "InferenceService"]
    return found


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("folder", ["teacher", "judge"])
def test_the_form_is_one_that_the_release_serves_with_tokens_and_long_answers(folder: str, version: str) -> None:
    release, found = RELEASES[version], service(folder)
    annotations, predictor = found["metadata"]["annotations"], found["spec"]["predictor"]
    assert annotations[MODE] in release.modes
    assert annotations["security.opendatahub.io/enable-auth"] == "true" and release.token
    assert found["metadata"]["labels"]["networking.kserve.io/visibility"] == "exposed"
    assert annotations[TIMEOUT] == f"{settings()['request-timeout']}s" and release.copied
    assert predictor["timeout"] == int(settings()["request-timeout"]) and release.proxy
    assert not [name for name in annotations if "knative" in name or "istio" in name]


def test_the_serverless_form_is_for_releases_that_have_it_and_within_their_limit() -> None:
    """Knative refuses a time-out above its max-revision-timeout-seconds, 600 by default."""
    component = root() / "serverless/component"
    (patch,) = yaml.safe_load((component / "kustomization.yaml").read_text())["patches"]
    mode = yaml.safe_load((component / patch["path"]).read_text())["metadata"]["annotations"][MODE]
    assert [version for version, release in RELEASES.items() if mode in release.modes] == ["2.16", "2.22", "2.25"]
    assert int(settings()["request-timeout"]) <= 600


@pytest.mark.parametrize("folder", ["teacher", "judge"])
def test_the_serverless_form_of_a_server_is_its_folder_and_the_component(folder: str) -> None:
    kustomization = yaml.safe_load((root() / "serverless" / folder / "kustomization.yaml").read_text())
    assert kustomization["resources"] == [f"../../{folder}"]
    assert kustomization["components"] == ["../component"]
