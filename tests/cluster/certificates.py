"""The cluster's certificate authority, the certificates of its parts, and their kubeconfigs."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.settings import FIRST_SERVICE_ADDRESS, HOST_ADDRESS, NODE, NODE_ADDRESS, SERVER

PEM = serialization.Encoding.PEM
DAYS = 30


@dataclass(frozen=True)
class Identity:
    """Who a certificate is for: file name, user, group, and for a server its names and addresses."""

    file: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
IDENTITIES = (
    Identity("apiserver", "kube-apiserver", "", SERVICE_NAMES, (NODE_ADDRESS, FIRST_SERVICE_ADDRESS, "127.0.0.1")),
    Identity("admin", "ilab-admin", "system:masters"),
    Identity("kubelet", f"system:node:{NODE}", "system:nodes", (NODE,), (NODE_ADDRESS,)),
    Identity("documents", "documents", "", (), (HOST_ADDRESS, "127.0.0.1")),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
)


def write_certificates(folder: Path) -> None:
    """Write ca.crt, NAME.crt and NAME.key for each identity, service-accounts.key and .pub, and NAME.kubeconfig."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    authority = _name(Identity("ca", "ilab test cluster"))
    ca = _builder(authority, authority, ca_key).add_extension(x509.BasicConstraints(True, 0), True)
    (folder / "ca.crt").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(PEM))
    for identity in IDENTITIES:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _builder(_name(identity), authority, key)
        if identity.addresses:
            addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in identity.addresses]
            names = [x509.DNSName(name) for name in identity.names]
            certificate = certificate.add_extension(x509.SubjectAlternativeName([*names, *addresses]), False)
        (folder / f"{identity.file}.crt").write_bytes(certificate.sign(ca_key, hashes.SHA256()).public_bytes(PEM))
        _write_key(folder / f"{identity.file}.key", key)
        (folder / f"{identity.file}.kubeconfig").write_text(yaml.safe_dump(_kubeconfig(folder, identity.file)))
    accounts = ec.generate_private_key(ec.SECP256R1())
    _write_key(folder / "service-accounts.key", accounts)
    public = accounts.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "service-accounts.pub").write_bytes(public)


def _name(identity: Identity) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, identity.user)]
    if identity.group:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.group))
    return x509.Name(parts)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def _kubeconfig(folder: Path, name: str) -> dict[str, object]:
    user = {"client-certificate": str(folder / f"{name}.crt"), "client-key": str(folder / f"{name}.key")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "ilab", "cluster": {"server": SERVER, "certificate-authority": str(folder / "ca.crt")}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "ilab", "context": {"cluster": "ilab", "user": name}}],
        "current-context": "ilab",
    }
