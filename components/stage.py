"""The `@stage` decorator: a KFP component whose body imports a stage from the code that travels with the pipeline."""

import copy
from collections.abc import Callable
from typing import Any

from kfp import dsl


def stage(image: str) -> Callable[[Callable[..., Any]], Any]:
    """Make a component of a function. Its body is what the pod runs, so its imports are inside it.

    What it imports from `utils` travels with the compiled pipeline (components/compile.py). The function's text is in
    every run's Workflow five or six times: it calls its stage, logs metrics, and leaves the rest to the stage.

    Args:
        image: the image that the component's pod runs, by digest.
    """
    return dsl.component(base_image=image, install_kfp_package=False)


def named(component: Any, name: str) -> Any:
    """The component under another name: a task's key, which every user interface shows, is its component's name."""
    copied = copy.copy(component)
    copied.component_spec = copy.copy(component.component_spec)
    copied.component_spec.name = copied.name = name
    return copied
