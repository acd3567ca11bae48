"""Puts single files of the repository into the wheel; `sources` in pyproject.toml can move folders alone."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = ("pipeline.py", "pipeline.yaml", "requirements/stages.txt")


class CustomBuildHook(BuildHookInterface):
    """hatchling's own force-include would copy them into editable installations as well, where they would go stale."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"] |= {name: f"ilab_pipeline/{name}" for name in FILES}
