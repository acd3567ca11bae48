"""How a component's function finds the stages' code in its pod.

The compiler puts the body of one of these functions before the component's own, with the digest in place of its name.
Every task carries it, and each byte counts about five times in a run's Workflow.
"""

CODE = "ILAB_CODE"
"""Environment variable with the bundle: a tar, compressed by bzip2, as text (utils.packing.as_text)."""
DIGEST = "0" * 32
"""In the body of `on_volume` the compiler writes the digest of the bundle's files (utils.packing.tree_digest) here."""


def carried() -> None:
    """The code came with the task."""
    import base64, io, os, sys, tarfile, tempfile  # noqa: E401, I001

    sys.path.insert(0, tempfile.mkdtemp())
    code = os.environ["ILAB_CODE"].translate(str.maketrans(",./:[]", "<>&${}"))
    with tarfile.open(fileobj=io.BytesIO(base64.b85decode(code))) as bundle:
        bundle.extractall(sys.path[0])


def on_volume(data_dir: str) -> None:
    """The code lies on the run's volume, where prerequisites have put it; it is imported once its digest is right."""
    import hashlib, pathlib, sys  # noqa: E401, I001

    code = pathlib.Path(data_dir, "code", DIGEST)
    files = [(file.name, file.read_bytes()) for file in sorted(code.rglob("*.*"))]
    if hashlib.sha256(repr(files).encode()).hexdigest()[:32] != DIGEST:
        sys.exit(
            f"error: {code} is {'changed' if files else 'missing'}\n"
            "  cause: another version of the pipeline filled this volume\n"
            "  next: run its prerequisites again; finished work stays"
        )
    sys.path.insert(0, str(code))
