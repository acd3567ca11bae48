"""The only client for Kubernetes: objects of a few kinds, watches and logs. It knows no pipeline and no run.

Pods carry the parts of `client`, `objects`, `kinds` and `errors` that they use, so these stay small.
`connection.connect` adds what helps people at a terminal: kubeconfig files, explanations of refusals, messages about an
unreachable API server.
"""
