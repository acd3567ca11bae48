"""The chosen chat template (choice.py) where it is used: its files on the volume."""

import importlib
import os

from utils.stages.chat_template.choice import render_example, write_template
from utils.stages.marker import read_marker


def chat_template_choice(data_dir: str) -> dict:
    """The choice of data import, as `choose_chat_template` describes it; without one, the tokenizer's own."""
    own = {"name": "tokenizer", "why": "", "sha256": "", "example": ""}
    return read_marker(data_dir, "data_import").get("result", {}).get("chat_template", own)


def chat_template_file(data_dir: str, name: str) -> str:
    """Path of the run's chat template on its volume, "" when it is the tokenizer's own.

    Args:
        name: template.py (as the library takes it) or template.jinja (as servers do).
    """
    if chat_template_choice(data_dir)["name"] == "tokenizer":
        return ""
    return os.path.join(data_dir, "chat_template", name)


def prepare_chat_template(data_dir: str) -> str:
    """Put the library's template on the volume if the run uses one; call it where the library is.

    Returns:
        the path of template.py, "" when the tokenizer's own template is used.

    Raises:
        SystemExit: the template can't be used.
    """
    path, choice = chat_template_file(data_dir, "template.py"), chat_template_choice(data_dir)
    if path and not choice["sha256"]:
        module = importlib.import_module(f"instructlab.training.chat_templates.{choice['name']}")
        tokens = {k: [t.token, t.add_to_tokenizer] for k, t in vars(module.SPECIAL_TOKENS).items() if t.token}
        found = {"template": module.CHAT_TEMPLATE, "tokens": tokens}
        variables = {role + "_token": text for role, (text, _) in tokens.items()}
        print(f"chat template {choice['name']}:\n{render_example(found['template'], variables, choice['name'])}")
        write_template(data_dir, found)
    return path
