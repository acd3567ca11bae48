"""The InstructLab workflow as one Kubeflow pipeline.

`utils`, `components` and `pipeline` lie in this package where it is installed, beside it in the repository. To import
it does nothing; the command is in `__main__`.
"""

__version__ = "0.1.0"
