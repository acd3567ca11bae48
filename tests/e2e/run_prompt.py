"""Print how instructlab-sdg renders two prompts of an SDG pipeline: one that calls Python, and an ordinary one."""

import sys
from types import SimpleNamespace
from typing import Any

from jinja2.exceptions import SecurityError

from utils.stages.sdg.blocks import ask_in_formats


def main() -> None:
    formats: Any = SimpleNamespace()
    ask_in_formats(SimpleNamespace(chat=None), formats)
    from instructlab.sdg.registry import PromptRegistry

    evil = PromptRegistry.template_from_string("{{ cycler.__init__.__globals__.os.getcwd() }}")
    try:
        print("called: " + evil.render(), file=sys.stderr)
        told = "called"
    except SecurityError as error:
        told = str(error)
    print(told + "; " + PromptRegistry.template_from_string("{{ question | trim }}?").render(question=" Red "))


main()
