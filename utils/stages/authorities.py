"""Certificate authorities that a task trusts: the public ones, the user's own, and what its pod has anyway."""

import atexit
import os
import re
import ssl
import tempfile
from pathlib import Path

from utils.messages import failure


def ca_bundle(ca_file: str, strict: bool = True) -> str:
    """Path of a PEM bundle with all trusted authorities, "" when these are the public ones alone.

    httpx, requests, git (http.sslCAInfo) and boto3 all take such a path. It holds certifi's roots; ca_file, which may
    be missing; and what the pod has anyway (`own_authorities`), so that HTTPS inside a cluster needs no parameter.

    Args:
        ca_file: PEM file of more authorities, a key of a mounted ConfigMap.
        strict: a ca_file that can't be used is a failure; else it is left out with a message.

    Raises:
        SystemExit: ca_file holds something else than certificates, or the ConfigMap has other keys.
    """
    import certifi

    try:
        wanted = certificates_of(ca_file)
    except SystemExit as error:
        if strict:
            raise
        print(error, flush=True)
        wanted = []
    roots = Path(certifi.where()).read_text("utf-8")
    public, _ = pem_certificates(roots)
    more = [der for der in dict.fromkeys([*wanted, *own_authorities()]) if der not in public]
    if not more:
        return ""
    fd, path = tempfile.mkstemp(prefix="ca-", suffix=".pem")
    os.close(fd)
    Path(path).write_text(roots + "\n" + "".join(map(ssl.DER_cert_to_PEM_cert, more)), "utf-8")
    # Not a TemporaryDirectory: libraries read it whenever they connect.
    atexit.register(Path(path).unlink, missing_ok=True)
    return path


def trust_everywhere(ca: str) -> None:
    """Let libraries that open connections by themselves (hubs, git) trust the bundle as well; "" changes nothing."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
    os.environ.update(dict.fromkeys(names, ca) if ca else {})


def certificates_of(ca_file: str) -> list[bytes]:
    """The certificates (DER) of the file that the user names, [] when the ConfigMap is missing or the key is empty.

    Raises:
        SystemExit: it holds something else, or the ConfigMap has other keys.
    """
    path = Path(ca_file)
    if not path.is_file():
        keys = sorted(one.name for one in path.parent.glob("[!.]*")) if ca_file else []
        if keys:
            raise failure(
                f"the ConfigMap mounted at {path.parent} has no key {path.name}",
                f"it has {', '.join(keys)[:200]}",
                "name the key of the certificates in k8s_ca_key",
            )
        return []
    text = path.read_text("latin-1")
    found, problems = pem_certificates(text)
    if problems or (text.strip() and not found):  # the cluster fills an empty key in time
        raise failure(
            f"{ca_file} is not a file of PEM certificates",
            problems[0] if problems else f"it has no line {_BEGIN}",
            f"correct the key {path.name} of the ConfigMap that k8s_ca_configmap names",
        )
    return found


def own_authorities(account: str = "/var/run/secrets/kubernetes.io/serviceaccount") -> list[bytes]:
    """Certificates (DER) that the pod, or this machine, is set up to trust. What is broken among them is left out.

    SSL_CERT_FILE, SSL_CERT_DIR (folders with colons between them) and REQUESTS_CA_BUNDLE, which the pipeline server of
    OpenShift AI sets; beside the service account's token the cluster's own authority, and on OpenShift that of its
    services. (A pod without a token has neither.)

    Args:
        account: folder of the service account's token.
    """
    named = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "SSL_CERT_DIR")
    places = [*":".join(os.environ.get(name, "") for name in named).split(":")]
    places += [f"{account}/{name}.crt" for name in ("service-ca", "ca")]
    found: list[bytes] = []
    for place in map(Path, filter(None, dict.fromkeys(places))):
        for path in filter(Path.is_file, sorted(place.iterdir()) if place.is_dir() else [place]):
            try:
                good, problems = pem_certificates(path.read_text("latin-1"))
            except OSError as error:
                good, problems = [], [f"it can't be read: {error.strerror}"]
            if problems:
                print(f"{path}: {len(problems)} certificates are left out: {problems[0]}", flush=True)
            found += good
    return found


_BEGIN = "-----BEGIN CERTIFICATE-----"


def pem_certificates(text: str) -> tuple[list[bytes], list[str]]:
    """The PEM certificates of a text as DER, and what is wrong with those that are broken."""
    context, found, problems = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), [], []
    for number, part in enumerate(text.split(_BEGIN)[1:], 1):
        body, end, _ = part.partition("-----END CERTIFICATE-----")
        try:
            if not end:
                raise ValueError("its text is cut off")
            if re.search(r"[^A-Za-z0-9+/=\s]", body):
                raise ValueError("its text is not base64")
            der = ssl.PEM_cert_to_DER_cert(_BEGIN + body + end)
            context.load_verify_locations(cadata=der)
            found.append(der)
        except (ssl.SSLError, ValueError) as error:
            problems.append(f"certificate {number} is broken: {getattr(error, 'reason', '') or error}")
    return found, problems
