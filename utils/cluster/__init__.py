"""The only client for Kubernetes: objects of a few kinds, watches and logs. It knows no pipeline and no run.

Pods carry what they use of `client`, `request`, `objects`, `kinds` and `errors`, so these stay lean. What helps people
at a terminal (kubeconfig files, explanations of refusals, news of an API server that is away) is added by
`connection.connect`.
"""
