"""The chosen chat template (choice.py) where it is used: its files on the volume."""

import importlib
import os

from utils.stages.chat_template.python_file import write_template
from utils.stages.chat_template.template import ASKED, GENERATED, Template, TokenInfo, render_examples
from utils.stages.marker import result_of
from utils.stages.results import ChatTemplate, Imported


def chat_template_choice(data_dir: str) -> ChatTemplate:
    """The choice of data import; without one, the tokenizer's own."""
    return (result_of(data_dir, "data_import", Imported) or Imported()).chat_template


def chat_template_file(data_dir: str, name: str) -> str:
    """Path of the run's chat template on its volume, "" when it is the tokenizer's own.

    Args:
        name: template.py (as the library takes it) or template.jinja (as servers do).
    """
    if chat_template_choice(data_dir).name == "tokenizer":
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
    if path and not choice.sha256:
        module = importlib.import_module(f"instructlab.training.chat_templates.{choice.name}")
        tokens = {k: TokenInfo(t.token, t.add_to_tokenizer) for k, t in vars(module.SPECIAL_TOKENS).items() if t.token}
        template = Template(module.CHAT_TEMPLATE, tokens)
        orders = (result_of(data_dir, "data_import", Imported) or Imported()).role_orders or GENERATED
        text = render_examples(f"the chat template {choice.name}", template, [*orders, *ASKED])
        print(f"chat template {choice.name}:\n{text}")
        write_template(data_dir, template)
    return path
