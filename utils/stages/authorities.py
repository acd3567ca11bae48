"""Certificate authorities that a task trusts: the public ones, the user's own, and what its pod has anyway."""

import os
import re
import ssl
import tempfile
from typing import Any

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
    with open(certifi.where(), encoding="utf-8") as file:
        roots = file.read()
    public = {der for der, _ in pem_blocks(roots)}
    more = [der for der in dict.fromkeys([*wanted, *own_authorities()]) if der not in public]
    if not more:
        return ""
    fd, path = tempfile.mkstemp(prefix="ca-", suffix=".pem")
    with os.fdopen(fd, "w", encoding="utf-8") as bundle:
        bundle.write(roots + "\n" + "".join(map(ssl.DER_cert_to_PEM_cert, more)))
    return path


def trust_everywhere(ca: str) -> None:
    """Let libraries that open connections by themselves (hubs, git) trust the bundle as well; "" changes nothing."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO")
    os.environ.update(dict.fromkeys(names, ca) if ca else {})


def certificates_of(ca_file: str) -> list:
    """The certificates (DER) of the file that the user names, [] when the ConfigMap is missing or the key is empty.

    Raises:
        SystemExit: it holds something else, or the ConfigMap has other keys.
    """
    folder, key = os.path.split(ca_file)
    if not ca_file or not os.path.isfile(ca_file):
        keys = sorted(name for name in os.listdir(folder) if name[0] != ".") if os.path.isdir(folder) else []
        if ca_file and keys:
            raise failure(
                f"the ConfigMap mounted at {folder} has no key {key}",
                f"it has {', '.join(keys)[:200]}",
                "name the key of the certificates in k8s_ca_key",
            )
        return []
    with open(ca_file, encoding="latin-1") as file:
        text = file.read()
    blocks = pem_blocks(text)
    broken = [problem for _, problem in blocks if problem]
    if broken or (text.strip() and not blocks):  # the cluster fills an empty key in time
        raise failure(
            f"{ca_file} is not a file of PEM certificates",
            broken[0] if broken else "it has no line -----BEGIN CERTIFICATE-----",
            f"correct the key {key} of the ConfigMap that k8s_ca_configmap names",
        )
    return [der for der, _ in blocks]


def own_authorities(account: str = "/var/run/secrets/kubernetes.io/serviceaccount") -> list:
    """Certificates (DER) that the pod, or this machine, is set up to trust. What is broken among them is left out.

    SSL_CERT_FILE, SSL_CERT_DIR (folders with colons between them) and REQUESTS_CA_BUNDLE, which the pipeline server of
    OpenShift AI sets; beside the service account's token the cluster's own authority, and on OpenShift that of its
    services. (A pod without a token has neither.)

    Args:
        account: folder of the service account's token.
    """
    named = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")
    places = [os.environ.get(name, "") for name in named] + os.environ.get("SSL_CERT_DIR", "").split(":")
    places += [os.path.join(account, name) for name in ("service-ca.crt", "ca.crt")]
    found: list = []
    for place in dict.fromkeys(filter(None, places)):
        files = sorted(os.path.join(place, name) for name in os.listdir(place)) if os.path.isdir(place) else [place]
        for path in filter(os.path.isfile, files):
            try:
                with open(path, encoding="latin-1") as file:
                    blocks = pem_blocks(file.read())
            except OSError as error:
                print(f"{path} can't be read, and is left out: {error.strerror}", flush=True)
                continue
            broken = [problem for _, problem in blocks if problem]
            if broken:
                print(f"{path}: {len(broken)} certificates are left out: {broken[0]}", flush=True)
            found += [der for der, problem in blocks if not problem]
    return found


def pem_blocks(text: str) -> list:
    """(certificate as DER, "") for each PEM certificate of a text, (b"", what is wrong) for one that is broken."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found = []
    for number, part in enumerate(text.split(begin)[1:], 1):
        body, ended, _ = part.partition(end)
        problem, der = "", b""
        try:
            if not ended or re.search(r"[^A-Za-z0-9+/=\s]", body):
                raise ValueError("its text is cut off" if not ended else "its text is not base64")
            der = ssl.PEM_cert_to_DER_cert(f"{begin}{body}{end}")
            context.load_verify_locations(cadata=der)
        except ssl.SSLError as error:
            problem = f"certificate {number} is broken: {error.reason or error}"
        except ValueError as error:
            problem = f"certificate {number} is broken: {error}"
        found.append((b"" if problem else der, problem))
    return found
