"""A compiled pipeline of two tasks under an exit handler."""

TASKS = ("prerequisites", "train")
PACKAGE = """\
components:
  comp-prerequisites: {executorLabel: exec}
  comp-train: {executorLabel: exec}
  comp-exit-handler-1:
    dag:
      tasks:
        prerequisites: {componentRef: {name: comp-prerequisites}, taskInfo: {name: prerequisites}}
        train: {componentRef: {name: comp-train}, taskInfo: {name: train}, dependentTasks: [prerequisites]}
deploymentSpec: {executors: {exec: {container: {image: python}}}}
pipelineInfo: {name: small}
root:
  dag:
    tasks:
      exit-handler-1: {componentRef: {name: comp-exit-handler-1}, taskInfo: {name: exit-handler-1}}
  inputDefinitions:
    parameters:
      seed: {parameterType: NUMBER_INTEGER, defaultValue: 42.0, isOptional: true}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
---
platforms: {kubernetes: {deploymentSpec: {executors: {}}}}
"""
