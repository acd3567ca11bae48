"""What a run finds around it: object store, teacher, judge and documents on this machine; Secrets in a namespace."""

import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.cluster.cluster import Cluster, forward
from tests.cluster.settings import CONFIG
from tests.e2e.stages import in_stages
from utils.cluster.pod_overlay import merge_overlay
from utils.cpu import PROGRAMS
from utils.demo.run import ARCHIVE, Demo, servers, store_of
from utils.demo.taxonomy import EXAMPLES, LEFT_OUT_QUICK, make_taxonomy
from utils.files import ROOT
from utils.names import CPU_PROGRAMS
from utils.stages.archive import pack_archive
from utils.stages.object_store.upload import upload_file

# One leaf of knowledge and one skill are left.
LEFT_OUT = (*LEFT_OUT_QUICK, "compositional_skills/linguistics")
STORE, TEACHER, JUDGE = "sdg-object-store-credentials", "teacher-secret", "judge-secret"
PROGRAMS_FOLDER, SDG_PIPELINE_FOLDER = "/mnt/cpu-programs", "/mnt/sdg-pipeline"


@dataclass(frozen=True)
class Surroundings:
    """Real servers on this machine, that pods reach.

    Attributes:
        secrets: content of the Secrets for a run, by name, with addresses as pods see them.
        store: the object store's, with its address on this machine's loopback.
        logs: what must not hold a secret: the model server's log.
        folder: what the archive was packed from, and more.
    """

    secrets: dict[str, dict[str, str]]
    store: dict[str, Any]
    logs: list[Path]
    folder: Path

    @property
    def canaries(self) -> dict[str, str]:
        """The secret values, made at random for this test run: they may appear nowhere."""
        kept = ("access_key", "secret_key", "api_token")
        return {f"{name}/{key}": value for name, s in self.secrets.items() for key, value in s.items() if key in kept}

    def fetch(self, ending: str, file: Path) -> Path:
        """The one object of the bucket that a run has put there and whose key ends so, brought to a file."""
        client, bucket = store_of(self.store).client, self.store["bucket"]
        keys = {one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]}
        (key,) = (key for key in keys if key.endswith(ending) and key != self.store["data_key"])
        client.download_file(bucket, key, str(file))
        return file


@contextmanager
def surroundings(folder: Path, make_model: Callable[[Demo], Path]) -> Iterator[Surroundings]:
    """Start object store and model server, and put the archive with model and taxonomy into the store.

    Args:
        make_model: makes the folder of the model to train: `two_layers`, or the demo's own `base_model`.
    """
    demo = Demo(folder, "cluster", os.environ["ILAB_PYTHON"])
    with ExitStack() as stack:
        store = stack.enter_context(servers(demo))
        documents = stack.enter_context(_served(demo.folder))
        archive = _archive(demo.folder, make_model(demo), stack.enter_context(_reachable(documents)))
        upload_file(store_of(store), archive, ARCHIVE)
        archive.unlink()
        secrets = {name: _read(demo.secrets / name) for name in (STORE, TEACHER, JUDGE)}
        address = {url: stack.enter_context(_reachable(url)) for url in {s["endpoint"] for s in secrets.values()}}
        for secret in secrets.values():
            secret["endpoint"] = address[secret["endpoint"]]
        yield Surroundings(secrets, store, [demo.folder / "model-server.log"], demo.folder)


@contextmanager
def _reachable(url: str) -> Iterator[str]:
    """The URL under which pods reach a server on this machine's loopback."""
    parts = urlsplit(url)
    with forward(parts.port or 0) as address:
        yield parts._replace(netloc=address).geturl()


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTPS on loopback; git clones what lies in it, and pods trust the cluster's authority."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CONFIG / "documents.crt", CONFIG / "documents.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def two_layers(demo: Demo) -> Path:
    """A model of two small layers: what the stages do with it is the same, and takes seconds.

    Beside it, in `volume/sdg`, is data that it can be trained on.
    """
    in_stages("tests/e2e/run_training.py", "volume", str(demo.folder / "volume"))
    return demo.folder / "volume" / "model"


def _archive(folder: Path, model: Path, url: str) -> Path:
    """The archive of model and taxonomy; `url` is where pods find the taxonomy's documents."""
    taxonomy = make_taxonomy(folder, left_out=LEFT_OUT)
    subprocess.run(["git", "update-server-info"], cwd=folder / "documents", check=True)
    for qna in taxonomy.rglob("qna.yaml"):
        qna.write_text(qna.read_text().replace(str(folder / "documents"), f"{url}/documents/.git"))
    pack_archive(str(model), str(taxonomy), "", str(folder / ARCHIVE))
    return folder / ARCHIVE


def _read(secret: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in secret.iterdir()}


def secret(namespace: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    """A Secret's manifest."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": _named(namespace, name), "stringData": values}


def config_map(namespace: str, name: str, folder: Path) -> dict[str, Any]:
    """A ConfigMap with the files of a folder, as `kubectl create configmap --from-file` makes it."""
    data = {file.name: file.read_text() for file in sorted(folder.iterdir()) if file.is_file()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _named(namespace, name), "data": data}


def _named(namespace: str, name: str) -> dict[str, str]:
    return {"namespace": namespace, "name": name}


def settle(cluster: Cluster, namespace: str) -> None:
    """Put into a namespace what the overlay's pods mount: the programs that do without a GPU, and SDG's pipeline."""
    cluster.apply(
        config_map(namespace, "cpu-programs", PROGRAMS),
        config_map(namespace, "sdg-pipeline", EXAMPLES / "sdg-pipeline"),
    )


def write_overlay(cluster: Cluster, path: Path, **spec: Any) -> Path:
    """The overlay for every pod of a run: Python from this machine, what `settle` puts there, and `spec`."""
    folders = {"cpu-programs": PROGRAMS_FOLDER, "sdg-pipeline": SDG_PIPELINE_FOLDER}
    env = {CPU_PROGRAMS: PROGRAMS_FOLDER, "OMP_WAIT_POLICY": "PASSIVE"}
    container = {
        "name": "*",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "volumeMounts": [{"name": name, "mountPath": folder} for name, folder in folders.items()],
    }
    volumes = [{"name": name, "configMap": {"name": name}} for name in folders]
    ours = {"spec": {"containers": [container], "volumes": volumes, **spec}}
    overlay = merge_overlay(yaml.safe_load(cluster.overlay.read_text()), ours)
    path.write_text(yaml.safe_dump(overlay, sort_keys=False))
    return path


def workbench(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """The objects of manifests/access and manifests/workbench by kind, in this namespace; all else is as it is."""
    texts = [cluster.kubectl("kustomize", str(ROOT / "manifests" / name)) for name in ("access", "workbench")]
    objects = [one for text in texts for one in yaml.safe_load_all(text)]
    for one in objects:
        one["metadata"]["namespace"] = namespace
        for subject in one.get("subjects", []):
            subject["namespace"] = namespace
    return {one["kind"]: one for one in objects}
