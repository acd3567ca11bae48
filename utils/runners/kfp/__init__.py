"""A run on a Kubeflow Pipelines server: find the server, submit, follow to the end, say why a task failed.

The server walks the DAG; nothing here runs a task. It speaks the v2beta1 API through KFP's generated client.
"""

from utils.runners.kfp.causes import Cause
from utils.runners.kfp.connection import Server, ServerAway
from utils.runners.kfp.discovery import find_server
from utils.runners.kfp.report import RunReport, TaskReport, pod_templates
from utils.runners.kfp.server import KfpServer, Submitted

__all__ = [
    "Cause",
    "KfpServer",
    "RunReport",
    "Server",
    "ServerAway",
    "Submitted",
    "TaskReport",
    "find_server",
    "pod_templates",
]
