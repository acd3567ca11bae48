"""A Kubeflow Pipelines server as OpenShift AI runs it, with the part of its project's Kubernetes API that belongs to it.

It answers over HTTP what the real one was seen, or read, to answer. `backend` is KFP's source at the tags 2.5.0 (OpenShift
AI 2.25), 2.14.3 (3.0 to 3.3), 2.16.0 and 2.16.1 (3.4, 3.5), folder backend/src; `seen` was seen on a server of 2.16.1.

| behaviour | fact |
|---|---|
| `error` of a failed task and of its run is empty | seen; backend apiserver/server/api_converter.go: `toApiPipelineTaskDetail` sets no error, `toApiRun` one of its own alone |
| task_details has every node of the Argo Workflow, sorted by id: the Workflow itself, `root-driver`, `root`, groups, and for each task `X-driver`, `X`, `executor` | api_converter.go `toModelTasks`; v2/compiler/argocompiler dag.go, container.go |
| a node's children are ids of nodes (`pod_name` of child_tasks), its own id is not answered | common/util/workflow.go `NodeStatuses`; `toApiPipelineTaskDetail` has no pod_name |
| display_name of a task's node is the task's key | dag.go: the Argo task is named after the key |
| a task whose driver fails, or that another one's failure keeps from running: Omitted in Argo, without a state in the API | seen; dag.go: X depends on `X-driver.Succeeded` |
| an entry of the history without a state follows the first | seen |
| terminate: CANCELING at once, then FAILED, never CANCELED; the history has CANCELING when the agent reported in time (a run stopped after 15 s had PENDING, RUNNING, FAILED), the Workflow's activeDeadlineSeconds is 0 | seen; storage/run_store.go `TerminateRun` (does not append to the history), `ReportWorkflowResource`, workflow.go `IsTerminating` |
| terminate of a finished run: 400 | run_store.go `TerminateRun`: "Row not found" |
| a failed task's output artifacts are not uploaded; its `executor-logs` since 2.16, before nothing at all | seen; v2/component/launcher_v2.go `executeV2` at the three tags |
| artifacts: list by namespace, GET with view=DOWNLOAD gives a signed URL; OpenShift AI's servers alone | opendatahub-io/data-science-pipelines artifact_server.go, artifacts.proto |
| an artifact's path: root/pipeline/run id/task/random/name | v2/metadata `GenerateOutputURI`, v2/driver `provisionOutputs` |
| `/apis/v1alpha1/runs/R/nodes/POD/log` reads the pod with the server's account, on multi-user servers alone: others look in the namespace ""; 200 in any case, an error is appended | seen; server/run_log_server.go `ReadRunLogV1`, resource_manager.go `getNamespaceFromRunId` |
| a task's log holds the launcher's lines (glog's form) and the emissary's (time=… argo=true, "Error: exit status 1") | seen |
| parameters: wrong types, unknown and missing names are 400 | template/v2_template.go `validatePipelineJobInputs` |
| `pipelineInfo.name` empty: 400; another schema than 2.1.0: 400 | v2_template.go `NewV2SpecTemplate` |
| `PipelineTaskFinalStatus` with 2.5.0: 500 "task final status not supported yet" | seen |
| a pipeline is created by its display_name; the same name again is 409 | `toModelPipeline`, storage/pipeline_store.go (unique index) |
| upload_version: multipart, name and pipelineid in the query; the same name again is 409, a bad file 500 | server/pipeline_upload_server.go |
| a run created from a version has a reference and no spec, one from a spec has no reference: the dashboard's Duplicate starts empty | `toApiRun`; seen |
| the Workflow: label pipeline/runid, nodes with phase, message, displayName, templateName; pods named Workflow-template-hash, annotation workflows.argoproj.io/node-name | workflow.go `RetrievePodName`; argo-workflows util/node_id.go |
| tasks with labels or annotations have the template metadata-A-L-system-container-impl since 2.14 | container.go `addContainerExecutorTemplate` at the tags |
| a task with a retry policy: its `executor` is a node of type Retry, message "No more retries left", with the pods `executor(0)`, `executor(1)`, … as children; Retry by a user starts at 0 again | argo-workflows 3.5 to 3.7 controller/operator.go `executeTemplate`, `processNodeRetries`; workflow.go `GenerateRetryExecution` |
| message of a node: "Error (exit code 1)"; of one whose pod was refused: "task 'NODE' errored: " and the API server's text | seen |
| ConsoleLinks `rhodslink` and `odhlink` link to the dashboard, and every user may read them | odh-dashboard manifests/; openshift/console-operator: console-extensions-reader for system:authenticated |
"""  # noqa: E501 - a table

from tests.fakes.kfp_server.run import Moment
from tests.fakes.kfp_server.server import KfpServer

__all__ = ["KfpServer", "Moment"]
