"""A disposable Kubernetes of one node for the tests: `python -m tests.cluster up`."""
