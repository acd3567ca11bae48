"""Where libraries keep their caches in a pod: an image's own home may not be writable for the pod's user."""


def writable_folders() -> dict:
    """Environment of every container of a run: a home and cache folders that any user id can write.

    In the InstructLab image neither `$HOME/.triton` nor `~/.cache` can be written by the user that OpenShift gives a
    pod; /tmp can. USER is for libraries that ask for the user's name: a random id has no entry in passwd.
    """
    return {
        "HOME": "/tmp",
        "USER": "ilab",
        "HF_HOME": "/tmp/huggingface",
        "XDG_CACHE_HOME": "/tmp/cache",
        "TRITON_CACHE_DIR": "/tmp/triton",
        "NUMBA_CACHE_DIR": "/tmp/numba",
    }
