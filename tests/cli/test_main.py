"""The command as a whole: light to start, every flag documented."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from utils.cli.main import LazyGroup, main

COMMANDS = ["run", "status", "logs", "resume", "clean"]


def test_help_does_not_import_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from utils.cli.main import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([m for m in ('yaml', 'rich', 'kfp', 'kubernetes', 'utils.ir.model') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_local_run_does_not_import_kfp() -> None:
    code = "import sys; import utils.cli.run, utils.runners.local.session; print('kfp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_mistyped_command_suggests_the_closest_one() -> None:
    done = CliRunner().invoke(main, ["resum", "r1"])
    assert done.exit_code == 2 and "No such command 'resum'. Did you mean 'resume'?" in done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_help_and_an_environment_variable(name: str) -> None:
    assert isinstance(main, LazyGroup)
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.help
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert str(option.envvar).startswith("ILAB_"), option.name


@pytest.mark.parametrize("place", ["local", "kubernetes", "kfp"])
def test_credentials_in_an_address_are_refused_before_anything_is_recorded(place: str, tmp_path: Path) -> None:
    url = "https://canary@git.example.org/taxonomy.git"
    done = CliRunner().invoke(
        main, ["run", "--on", place, "-p", f"sdg_repo_url={url}"], env={"ILAB_HOME": str(tmp_path)}
    )
    assert done.exit_code == 2
    assert "-p: sdg_repo_url: an address with a user, token or password in it" in done.output
    assert "canary" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_values_that_prerequisites_would_refuse_are_refused_at_once(tmp_path: Path) -> None:
    pairs = ["-p", "train_timeout=1.5h", "-p", "train_max_seq_len=6000"]
    done = CliRunner().invoke(main, ["run", "--on", "kfp", *pairs], env={"ILAB_HOME": str(tmp_path)})
    assert done.exit_code == 2
    assert "error: 3 of the arguments can't be used" in done.output
    assert "train_timeout is '1.5h', expected a whole number and s, m, h or d" in done.output
    assert "sdg_max_batch_len is '5000" in done.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--on", "kubernetes", "--namespace", "My_Project"], "'My_Project' is not the name of a namespace"),
        (["run", "--on", "kfp", "--namespace", "a" * 64], "is not the name of a namespace: at most 63"),
        (["run", "--on", "kubernetes", "--service-account", "My_Account"], "is not the name of a service account"),
        (["run", "--on", "kfp", "--home", "."], "--home: not valid with --on kfp"),
        (["run", "--on", "kfp", "--token", "t"], "a token is given, and no --host"),
        (["run", "--on", "kubernetes", "--resume"], "--resume needs the run that it resumes"),
        (["run", "--on", "kubernetes", "--dry-run", "-o", "json"], "--output json can't be combined with --dry-run"),
        (["compile", "--source", "sdg", "--queue", "q"], "--queue can't be combined with --source"),
        (["compile", "--source", "sdg", "--image", "all=x"], "--image can't be combined with --source"),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused(words: list[str], told: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and told in done.output, done.output
