"""How a component's function finds the stages' code in its pod.

The compiler puts the bodies of some of these functions before the component's own. Every task carries it, and each
byte counts about five times in a run's Workflow.
"""

CODE = "ILAB_CODE"
"""Environment variable with the bundle: a tar, compressed by bzip2, as text (utils.packing.as_text)."""
DIGEST = "0" * 16
"""In the body of `on_volume` the compiler writes the digest of the files on the volume (utils.packing.tree_digest)."""


def new_folder() -> None:
    """The code gets a folder of its own."""
    import sys, tempfile  # noqa: E401, I001

    sys.path.insert(0, tempfile.mkdtemp())


def joined() -> None:
    """With what lies on the volume."""
    import shutil, sys  # noqa: E401, I001

    shutil.copytree(sys.path[1], sys.path[0], dirs_exist_ok=True)


def carried() -> None:
    """And with what came with the task."""
    import base64, io, os, sys, tarfile  # noqa: E401, I001

    code = os.environ["ILAB_CODE"].translate(str.maketrans(",./:[]", "<>&${}"))
    with tarfile.open(fileobj=io.BytesIO(base64.b85decode(code))) as bundle:
        bundle.extractall(sys.path[0])


def on_volume(data_dir: str) -> None:
    """The code lies on the run's volume, where earlier tasks have put it; it is imported once its digest is right."""
    import hashlib, pathlib, sys  # noqa: E401, I001

    code = pathlib.Path(data_dir, "code", DIGEST)
    files = [(file.name, file.read_bytes()) for file in sorted(code.rglob("*.*"))]
    if hashlib.sha256(repr(files).encode()).hexdigest()[:16] != DIGEST:
        sys.exit(f"error: {code} is {'changed' if files else 'missing'}\n  next: run the prerequisites again")
    sys.path.insert(0, str(code))
