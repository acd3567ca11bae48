"""Credentials by Secret, by flags, in any mixture."""

import base64
from typing import Any

import pytest

from tests.standalone.conftest import Read
from utils.names import RUN_LABEL
from utils.standalone.ca import authorities, ca_arguments, ca_manifest, read_authorities
from utils.standalone.secrets import credentials_of, read_credentials, secret_manifest

STORE = {"bucket": "b", "access_key": "ak", "secret_key": "sk", "data_key": "k.tar.gz"}
JUDGE = {"JUDGE_ENDPOINT": "https://judge/v1", "JUDGE_NAME": "prometheus", "JUDGE_API_KEY": "token"}
STORE_FLAGS = [part for key, value in STORE.items() for part in (f"--sdg-object-store-{key.replace('_', '-')}", value)]
JUDGE_FLAGS = [
    *("--judge-serving-model-endpoint", "https://judge/v1"),
    *("--judge-serving-model-name", "prometheus", "--judge-serving-model-api-key", "hunter2"),
]
TEACHER_FLAGS = [part.replace("judge-serving", "sdg-serving") for part in JUDGE_FLAGS]
PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"


class Namespace:
    """Objects of a namespace by (kind, name)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}

    def secret(self, name: str, **values: str) -> None:
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        self.objects["Secret", name] = {"data": data}

    def config_map(self, name: str, **values: str) -> None:
        self.objects["ConfigMap", name] = {"data": {key.replace("_", "."): value for key, value in values.items()}}

    def __call__(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.objects.get((kind, name))


@pytest.fixture
def namespace() -> Namespace:
    return Namespace()


def test_flags_create_a_secret_whose_name_reaches_the_tasks(read: Read) -> None:
    """Trap 1: the name was read before the Secret was made."""
    (store,), findings = credentials_of(read(*STORE_FLAGS), ["object-store"])
    assert not findings and store.name("r1") == "ilab-r1-object-store"
    manifest = secret_manifest(store, "r1", "lab", {"kind": "ConfigMap", "name": "ilab-r1", "uid": "u"})
    assert manifest["metadata"]["name"] == store.name("r1")
    assert manifest["stringData"] == {**STORE, "verify_tls": "true"}
    assert manifest["metadata"]["ownerReferences"] == [{"kind": "ConfigMap", "name": "ilab-r1", "uid": "u"}]
    assert manifest["metadata"]["namespace"] == "lab"
    assert manifest["metadata"]["labels"] == {RUN_LABEL: "r1"}


@pytest.mark.parametrize("judge", [["--judge-serving-model-secret", "j"], JUDGE_FLAGS])
@pytest.mark.parametrize("store", [["--sdg-object-store-secret", "s"], STORE_FLAGS])
@pytest.mark.parametrize("teacher", [["--sdg-serving-model-secret", "t"], TEACHER_FLAGS])
def test_secrets_and_flags_mix_freely(judge: list[str], store: list[str], teacher: list[str], read: Read) -> None:
    """Trap 2: the object store by flags together with the judge by Secret crashed."""
    found, findings = credentials_of(read(*judge, *store, *teacher), ["object-store", "judge", "teacher"])
    assert not findings
    for one, args in zip(found, (store, judge, teacher), strict=True):
        assert one.name("r") == (args[1] if len(args) == 2 else f"ilab-r-{one.role.name}")


def test_values_never_appear_in_a_representation(read: Read) -> None:
    assert "hunter2" not in repr(credentials_of(read(*JUDGE_FLAGS), ["judge"]))


def test_all_missing_settings_are_named_at_once(read: Read) -> None:
    given = read("--judge-serving-model-name", "x", "--sdg-object-store-bucket", "b")
    findings = credentials_of(given, ["object-store", "judge", "teacher"])[1]
    assert findings == [
        "object-store: --sdg-object-store-access-key, --sdg-object-store-secret-key, --sdg-object-store-data-key; "
        "or all values by --sdg-object-store-secret",
        "judge: --judge-serving-model-endpoint, --judge-serving-model-api-key; or all values by "
        "--judge-serving-model-secret",
        "teacher: --sdg-serving-model-endpoint, --sdg-serving-model-name, --sdg-serving-model-api-key; or all values "
        "by --sdg-serving-model-secret",
    ]


@pytest.mark.parametrize("address", ["judge:8080/v1", "ftp://judge", "http://", "http://[bad"])
def test_an_endpoint_is_an_address(address: str, read: Read) -> None:
    findings = credentials_of(read(*JUDGE_FLAGS, "--judge-serving-model-endpoint", address), ["judge"])[1]
    assert findings == [
        "judge: --judge-serving-model-endpoint is not an address that starts with http:// or https://",
    ]


def test_the_environment_does_not_replace_what_the_secret_says(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's Pod has the object store's values in its environment, and names their Secret."""
    for key, value in STORE.items():
        monkeypatch.setenv(f"SDG_OBJECT_STORE_{key.upper()}", value)
    monkeypatch.setenv("SDG_OBJECT_STORE_VERIFY_TLS", "")
    (store,), findings = credentials_of(read("--sdg-object-store-secret", "s"), ["object-store"])
    assert not findings and not store.values and store.name("r") == "s"


def test_a_typed_flag_replaces_one_key_of_the_secret(read: Read, namespace: Namespace) -> None:
    namespace.secret("j", endpoint="https://old/v1", model="m", api_token="secret", other="x")
    given = read("--judge-serving-model-secret", "j", "--judge-serving-model-endpoint", "https://new/v1")
    credentials, _ = credentials_of(given, ["judge"])
    (judge,), _, findings = read_credentials(credentials, namespace)
    assert not findings and judge.name("r") == "ilab-r-judge"
    assert judge.values == {"JUDGE_ENDPOINT": "https://new/v1", "JUDGE_NAME": "m", "JUDGE_API_KEY": "secret"}


@pytest.mark.parametrize(
    ("role", "args", "data"),
    [
        ("judge", ["--judge-serving-model-secret", "x"], JUDGE),
        ("judge", ["--judge-serving-model-secret", "x"], {"endpoint": "http://j", "model_name": "m"}),
        ("teacher", ["--sdg-serving-model-secret", "x"], {"endpoint": "http://t", "model": "m", "api_key": "k"}),
        ("teacher", ["--sdg-serving-model-secret", "x"], {"endpoint": "http://t", "model_name": "m", "api_token": "k"}),
        ("object-store", ["--sdg-object-store-secret", "x"], STORE),
    ],
)
def test_secrets_of_both_generations_are_accepted(
    role: str, args: list[str], data: dict[str, str], read: Read, namespace: Namespace
) -> None:
    namespace.secret("x", **data)
    credentials, _ = credentials_of(read(*args), [role])
    (one,), _, findings = read_credentials(credentials, namespace)
    assert not findings and one.name("r") == "x"


def test_missing_keys_of_secrets_are_named_at_once_without_values(read: Read, namespace: Namespace) -> None:
    namespace.secret("s", **{**STORE, "access_key": " "}, endpoint="store:9000")
    namespace.secret("t", endpoint="http://t", api_key="hunter2")
    given = read(
        *("--sdg-object-store-secret", "s", "--judge-serving-model-secret", "j", "--sdg-serving-model-secret", "t")
    )
    findings = read_credentials(credentials_of(given, ["object-store", "judge", "teacher"])[0], namespace)[2]
    assert findings == [
        "object-store: the Secret s lacks access_key",
        "object-store: endpoint of the Secret s is not an address that starts with http:// or https://",
        "judge: there is no Secret j",
        "teacher: the Secret t lacks model or model_name",
    ]


def test_a_wrong_key_is_named_as_the_secret_has_it(read: Read, namespace: Namespace) -> None:
    namespace.secret("j", endpoint="ftp://j", model_name="m")
    given = read("--judge-serving-model-secret", "j")
    findings = read_credentials(credentials_of(given, ["judge"])[0], namespace)[2]
    assert findings == ["judge: endpoint of the Secret j is not an address that starts with http:// or https://"]


def resolved(given: Any, namespace: Namespace, needs: tuple[str, ...] = ("judge", "teacher")) -> Any:
    credentials, secrets, _ = read_credentials(credentials_of(given, needs)[0], namespace)
    found = authorities(given, credentials, secrets)
    texts, findings = read_authorities(found, namespace)
    return ca_arguments(found, "r"), ca_manifest(found, texts, "r", "", {}), findings


BY_SECRET = ("--judge-serving-model-secret", "j", "--sdg-serving-model-secret", "t")


@pytest.fixture
def both(namespace: Namespace) -> Namespace:
    namespace.secret("j", **JUDGE)
    namespace.secret("t", endpoint="http://t", model="m", api_key="k")
    return namespace


THE_CLUSTERS = {"k8s_ca_configmap": "kube-root-ca.crt", "k8s_ca_key": "ca.crt"}


def test_default_authority_is_the_clusters_own(both: Namespace, read: Read) -> None:
    assert resolved(read(*BY_SECRET), both) == (THE_CLUSTERS, [], [])


def test_a_config_map_with_dots_in_its_name_is_used_as_it_is(both: Namespace, read: Read) -> None:
    both.objects["ConfigMap", "kube-root-ca.crt"] = {"data": {"ca.crt": PEM}}
    name, key = "--judge-serving-model-ca-cert", "--judge-serving-model-ca-cert-cm-key"
    arguments, manifests, findings = resolved(read(*BY_SECRET, name, "kube-root-ca.crt", key, "ca.crt"), both)
    assert arguments == THE_CLUSTERS and not manifests and not findings


def test_one_config_map_is_used_as_it_is(both: Namespace, read: Read) -> None:
    both.config_map("ca", ca_bundle_crt=PEM)
    both.objects["ConfigMap", "ca"] = {"data": {"ca-bundle.crt": PEM}}
    flags = ("--judge-serving-model-ca-cert", "ca", "--sdg-serving-model-ca-cert", "ca")
    arguments, manifests, findings = resolved(read(*BY_SECRET, *flags), both)
    assert arguments == {"k8s_ca_configmap": "ca", "k8s_ca_key": "ca-bundle.crt"}
    assert not manifests and not findings


def test_two_authorities_become_one_config_map_of_the_run(both: Namespace, read: Read) -> None:
    both.config_map("one", ca_crt=PEM.replace("abc", "first"))
    both.config_map("two", tls_crt=PEM.replace("abc", "second"))
    both.secret("t", endpoint="http://t", model="m", SDG_CA_CERT="two", SDG_CA_CERT_CM_KEY="tls.crt")
    flags = ("--judge-serving-model-ca-cert", "one", "--judge-serving-model-ca-cert-cm-key", "ca.crt")
    arguments, (manifest,), findings = resolved(read(*BY_SECRET, *flags), both)
    assert arguments == {"k8s_ca_configmap": "ilab-r-ca", "k8s_ca_key": "ca-bundle.crt"} and not findings
    bundle = manifest["data"]["ca-bundle.crt"]
    assert manifest["metadata"]["name"] == "ilab-r-ca" and bundle.count("BEGIN CERTIFICATE") == 2
    assert bundle.index("first") < bundle.index("second")


def test_certificate_in_the_secret_itself_is_accepted(both: Namespace, read: Read) -> None:
    both.secret("j", **JUDGE, JUDGE_CA_CERT=PEM)
    arguments, (manifest,), findings = resolved(read(*BY_SECRET), both)
    assert arguments["k8s_ca_configmap"] == "ilab-r-ca" and not findings
    assert PEM in manifest["data"]["ca-bundle.crt"]


def test_secrets_authority_is_used_unless_a_flag_is_typed(both: Namespace, read: Read) -> None:
    both.secret("j", **JUDGE, JUDGE_CA_CERT="from-secret")
    for name in ("from-secret", "typed"):
        both.objects["ConfigMap", name] = {"data": {"ca-bundle.crt": PEM}}
    assert resolved(read(*BY_SECRET), both)[0]["k8s_ca_configmap"] == "from-secret"
    typed = read(*BY_SECRET, "--judge-serving-model-ca-cert", "typed")
    assert resolved(typed, both)[0]["k8s_ca_configmap"] == "typed"


def test_missing_authority_is_named(both: Namespace, read: Read) -> None:
    both.config_map("one", other=PEM)
    both.objects["ConfigMap", "three"] = {"data": {"ca-bundle.crt": "text"}}
    both.secret("t", endpoint="http://t", model="m", SDG_CA_CERT="two")
    assert resolved(read(*BY_SECRET, "--judge-serving-model-ca-cert", "one"), both)[2] == [
        "judge: the ConfigMap one has no key ca-bundle.crt; name it with --judge-serving-model-ca-cert-cm-key",
        "teacher: there is no ConfigMap two with its certificate authority",
    ]
    assert resolved(read(*BY_SECRET, "--judge-serving-model-ca-cert", "three"), both)[2][0] == (
        "judge: ca-bundle.crt of the ConfigMap three is not a PEM certificate"
    )


def test_only_secrets_that_the_part_uses_are_checked(both: Namespace, read: Read) -> None:
    given = read("--judge-serving-model-secret", "j", "--sdg-serving-model-ca-cert", "nowhere")
    assert resolved(given, both, ("judge",)) == (THE_CLUSTERS, [], [])
