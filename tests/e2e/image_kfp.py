"""Imported first, it lets components be imported with the kfp of an image: older than the one that compiles them."""

import inspect
from typing import Any

from kfp import dsl

if "additional_funcs" not in inspect.signature(dsl.component).parameters:
    component = dsl.component

    def without_helpers(func: Any, additional_funcs: Any = None, **options: Any) -> Any:
        return component(func, **options)

    dsl.component = without_helpers
