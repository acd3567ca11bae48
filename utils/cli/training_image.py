"""Whether tasks that train in themselves have an image that can: told before a run on a cluster begins."""

from collections.abc import Mapping
from typing import Any

import click

from utils.images import NOTEBOOK
from utils.ir.model import Pipeline


def tell_training_image(pipeline: Pipeline, arguments: Mapping[str, Any]) -> None:
    """Warn of training tasks that would find no torch after hours of synthetic data: `notebook` only launches pods."""
    if arguments.get("train_launcher") != "process":
        return
    trains = [one for one in pipeline.components.values() if one.key.startswith("comp-train-")]
    lacking = [one.key.removeprefix("comp-") for one in trains if one.container and one.container.image == NOTEBOOK]
    if lacking:
        whose = " and ".join(lacking)
        click.echo(f"warning: train_launcher is process, and the image of {whose} (notebook) has no torch", err=True)
        flags = " ".join(f"--image {task}=REF" for task in lacking)
        click.echo(f"  {flags}, an image with instructlab-training: see docs/images.md", err=True)
