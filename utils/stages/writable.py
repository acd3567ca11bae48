"""Where libraries keep their caches in a pod: an image's own home may not be writable for the pod's user."""

HOME = {"HOME": "/tmp"}
"""Environment of every container of a run: a home that any user id can write."""
HOME_FOLDERS = HOME | {"USER": "ilab", "HF_HOME": "/tmp/huggingface", "XDG_CACHE_HOME": "/tmp/cache"}
"""The same for containers with torch.

In the InstructLab image neither `$HOME/.triton` nor `~/.cache` can be written by the user that OpenShift gives a pod;
/tmp can. USER is for libraries that ask for the user's name: a random id has no entry in passwd.
"""
MODEL_FOLDERS = HOME_FOLDERS | {"TRITON_CACHE_DIR": "/tmp/triton", "NUMBA_CACHE_DIR": "/tmp/numba"}
"""The same for training pods. In tasks of the pipeline, Triton and numba keep their caches below HOME and its cache."""
