"""Which chat template a run uses, and that a bad one is found in data import."""

import json
from pathlib import Path
from typing import Any

import pytest

from utils.names import CPU_PROGRAMS
from utils.stages.chat_template.choice import choose_chat_template
from utils.stages.chat_template.files import chat_template_choice, chat_template_file
from utils.stages.chat_template.template import GENERATED, Template, render_examples
from utils.stages.evaluation import serving
from utils.stages.marker import write_marker
from utils.stages.results import ChatTemplate, Imported

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"

# The form of instructlab/training/chat_templates/*.py.
PYTHON = """
from instructlab.training.chat_templates.utils import SpecialTokens, TokenInfo

SPECIAL_TOKENS = SpecialTokens(
    user=TokenInfo("<|u|>", add_to_tokenizer=True),
    assistant=TokenInfo("<|a|>", True),
    bos=TokenInfo("<s>"),
    eos=TokenInfo("</s>", add_to_tokenizer=False),
)

CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{{ {'system': '', 'user': '<|u|>', 'assistant': '<|a|>'}[m.role] + m.content + eos_token }}"
    "{% endfor %}"
)
"""


def volume(tmp_path: Path, tokenizer: dict[str, Any], **config: object) -> str:
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (model / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        # Granite 7B: the architecture and the vocabulary size of Llama 2 (32000, or with added tokens 32008).
        ({"model_type": "llama", "vocab_size": 32000}, "ibm_legacy_tmpl"),
        ({"model_type": "llama", "vocab_size": 32008}, "ibm_legacy_tmpl"),
        ({"model_type": "llama", "vocab_size": 128256}, "ibm_generic_tmpl"),
        ({"model_type": "granite", "vocab_size": 49155}, "ibm_generic_tmpl"),
        ({"model_type": "granitemoehybrid", "vocab_size": 100352}, "ibm_generic_tmpl"),
        ({"model_type": "mistral", "vocab_size": 32000}, "mistral_tmpl"),
        ({"model_type": "mixtral", "vocab_size": 32000}, "mistral_tmpl"),
        ({"model_type": "qwen2", "vocab_size": 151936}, "ibm_generic_tmpl"),
        ({}, "ibm_generic_tmpl"),
    ],
)
def test_model_without_a_template_gets_the_librarys_for_its_family(
    config: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """Trap 45b."""
    choice = choose_chat_template(volume(tmp_path, {}, **config), "")
    assert choice.name == name
    assert "tokenizer has none" in choice.why


def test_tokenizers_own_template_wins_over_the_familys(tmp_path: Path) -> None:
    tokenizer = {"chat_template": PLAIN, "eos_token": {"content": "</s>"}}
    choice = choose_chat_template(volume(tmp_path, tokenizer, model_type="granite"), "")
    assert choice.name == "tokenizer"
    assert choice.example.endswith("<assistant>It is blue.</s>")


def test_of_several_templates_the_default_is_used(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "{{ broken"}, {"name": "default", "template": PLAIN}]
    assert choose_chat_template(volume(tmp_path, {"chat_template": named}), "").name == "tokenizer"


def test_file_beside_the_tokenizer_wins_over_its_configuration(tmp_path: Path) -> None:
    data_dir = volume(tmp_path, {"chat_template": "{{ broken"})
    (tmp_path / "model" / "chat_template.jinja").write_text(PLAIN)
    assert "<user>" in choose_chat_template(data_dir, "").example


def test_named_template_wins_over_the_tokenizers_own(tmp_path: Path) -> None:
    data_dir = volume(tmp_path, {"chat_template": PLAIN}, model_type="granite")
    assert choose_chat_template(data_dir, "ibm_legacy_tmpl").name == "ibm_legacy_tmpl"


@pytest.mark.parametrize(
    ("template", "cause"),
    [
        ("{% for m in messages %}", "TemplateSyntaxError"),
        ("{{ raise_exception('no system turn') }}", "no system turn"),
        ("{{ messages[1].content }}", "leaves out what system and assistant said"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", "more than 65536"),
        ("{{ messages[9].content }}", "UndefinedError"),
        ("{{ messages.clear() }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ ''|attr('format') }}", "attr"),
    ],
)
def test_template_that_cannot_render_a_conversation_is_found_at_once(template: str, cause: str, tmp_path: Path) -> None:
    """Trap 69: found in data import, not after the teacher's hours."""
    with pytest.raises(SystemExit, match=cause):
        choose_chat_template(volume(tmp_path, {"chat_template": template}), "")


def test_endless_template_is_stopped() -> None:
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(SystemExit, match="takes longer than 0.1 s"):
        render_examples("it", Template(loops, {}), GENERATED, 0.1)


GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    "<start_of_turn>{{ m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
)


def test_template_that_refuses_a_system_message_is_named_before_sdg(tmp_path: Path) -> None:
    """Each sample of SDG has one. Gemma's form."""
    with pytest.raises(SystemExit) as error:
        choose_chat_template(volume(tmp_path, {"chat_template": GEMMA}), "")
    assert "model, for system, user, assistant, can't be used\n  cause: TemplateError: System role" in str(error.value)
    assert "set train_chat_template" in str(error.value)


def test_template_without_system_role_is_right_for_data_that_has_none(tmp_path: Path) -> None:
    data_dir = volume(tmp_path, {"chat_template": GEMMA})
    assert choose_chat_template(data_dir, "", [["user", "assistant"]]).name == "tokenizer"
    assert choose_chat_template(data_dir, "", [["pretraining"]]).name == "tokenizer"
    with pytest.raises(SystemExit, match=r"for user, user, assistant, can't be used\n.*must alternate"):
        choose_chat_template(data_dir, "", [["user", "user", "assistant"]])


FIRST_IS_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for m in messages[1:] %}<{{ m.role }}>{{ m.content }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ (messages[0].content if messages[0].role == 'system') + '' }}" + PLAIN, "no else section was defined"),
        ("{% if messages[0].role != 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN, "no system"),
        (
            PLAIN + "{% if messages[2] and messages[2].role == 'user' %}{{ 1 / 0 }}{% endif %}",
            "for user, assistant, user",
        ),
        (FIRST_IS_SYSTEM, "(?s)for user, assistant, can't.*leaves out what user said"),
    ],
)
def test_conversations_without_a_system_message_are_tried_too(template: str, told: str, tmp_path: Path) -> None:
    """Evaluation asks without one, and MT-Bench asks a second question."""
    with pytest.raises(SystemExit, match=told):
        choose_chat_template(volume(tmp_path, {"chat_template": template}), "")


@pytest.mark.parametrize(
    "template",
    [
        "{% generation %}" + PLAIN + "{% endgeneration %}",
        PLAIN + "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{% endfor %}",
        PLAIN + "{{ strftime_now('%Y') }}{{ messages | tojson(indent=2) }}{% if tools %}{{ tools }}{% endif %}",
    ],
)
def test_jinja_extensions_of_transformers_are_available(template: str, tmp_path: Path) -> None:
    assert choose_chat_template(volume(tmp_path, {"chat_template": template}), "").name == "tokenizer"


def test_python_file_is_read_and_rewritten(tmp_path: Path) -> None:
    """The library executes the file it is given: never the user's own."""
    data_dir = volume(tmp_path, {})
    evil = f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    (tmp_path / "model" / "chat.py").write_text(PYTHON + evil)
    choice = choose_chat_template(data_dir, "model/chat.py")
    assert choice.example.endswith("<|a|>It is blue.</s>")
    written = (tmp_path / "chat_template" / "template.py").read_text()
    assert "pathlib" not in written
    names: dict[str, Any] = {}
    stand_ins = {"SpecialTokens": dict, "TokenInfo": lambda token, add: (token, add)}
    exec(written.partition("\n")[2], stand_ins, names)
    tokens = {"user": ("<|u|>", True), "assistant": ("<|a|>", True), "bos": ("<s>", False), "eos": ("</s>", False)}
    assert names["SPECIAL_TOKENS"] == tokens
    assert names["CHAT_TEMPLATE"] == (tmp_path / "chat_template" / "template.jinja").read_text()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("CHAT_TEMPLATE = open('/etc/passwd').read()", "malformed node"),
        (PYTHON.replace('"<|u|>"', "__import__('os').getcwd()"), "malformed node"),
        (PYTHON.replace('"<|u|>"', "7"), "user is unknown or no text"),
        (PYTHON.replace("user=", "owner="), "owner is unknown"),
        (PYTHON.replace("    eos=", "    tool="), "lacks eos"),
        (PYTHON.replace("    assistant=", "    tool="), "lacks assistant"),
        (PYTHON.replace("CHAT_TEMPLATE", "OTHER"), "lacks CHAT_TEMPLATE"),
        (PYTHON.replace("messages %}", "messages"), "TemplateSyntaxError"),
        ("{{ messages }", "SyntaxError"),
        ("#" * (1 << 20) + "##", "larger than 1 MiB"),
    ],
)
def test_a_python_file_of_another_form_is_refused(text: str, cause: str, tmp_path: Path) -> None:
    data_dir = volume(tmp_path, {})
    (tmp_path / "model" / "chat.py").write_text(text)
    with pytest.raises(SystemExit, match=cause):
        choose_chat_template(data_dir, "model/chat.py")
    assert not (tmp_path / "chat_template").exists()


def test_a_file_that_is_not_on_the_volume_is_refused(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    data_dir = volume(tmp_path / "volume", {})
    (tmp_path / "secret").write_text(PYTHON)
    (tmp_path / "volume" / "model" / "link").symlink_to(tmp_path / "secret")
    for path in ("ibm_legacy", "../secret", "model/link", "model"):
        with pytest.raises(
            SystemExit, match=r"not a file on the run's volume\n.*next: correct it, or set train_chat_template"
        ):
            choose_chat_template(data_dir, path)


def test_stages_find_the_choice_on_the_volume(tmp_path: Path) -> None:
    data_dir = str(tmp_path)
    assert chat_template_file(data_dir, "template.py") == ""
    choice = ChatTemplate("mistral_tmpl")
    write_marker(data_dir, "data_import", {}, [], Imported(chat_template=choice), 0)
    assert chat_template_choice(data_dir) == choice
    assert chat_template_file(data_dir, "template.jinja") == f"{data_dir}/chat_template/template.jinja"


def test_servers_of_base_and_checkpoints_get_the_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM does not chat with a model that has no template; its flag takes a Jinja file (0.8.5)."""
    monkeypatch.setattr(serving, "has_bfloat16", lambda: True)
    monkeypatch.setenv(CPU_PROGRAMS, str(tmp_path))
    (tmp_path / "llama_cpp.py").touch()
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    command = serving.vllm_command(str(tmp_path), "m", 1, "/v/template.jinja")
    assert command[command.index("--chat-template") + 1] == "/v/template.jinja"
    assert "--chat-template" not in serving.vllm_command(str(tmp_path), "m", 1, "")
    assert serving.llama_cpp_command("m", "m", 1, 1, "c", "/v/template.jinja")[-1] == "/v/template.jinja"


@pytest.mark.parametrize(
    ("wanted", "sha256"),
    [
        ("", "b92983f28b8a829048239bed68d699e8ba5e464fa490b535467b683f3af84854"),
        ("model/chat.py", "b0ca2e278bc59292d85b2afe2b69a443b11d13273e3a2b3bc2c13982f843ab52"),
        ("ibm_legacy_tmpl", ""),
    ],
)
def test_a_template_has_the_hash_that_earlier_versions_recorded(wanted: str, sha256: str, tmp_path: Path) -> None:
    """It is among the inputs of data processing: another one would make finished stages unfinished."""
    data_dir = volume(tmp_path, {"chat_template": PLAIN, "eos_token": {"content": "</s>"}})
    (tmp_path / "model" / "chat.py").write_text(PYTHON)
    assert choose_chat_template(data_dir, wanted).sha256 == sha256
