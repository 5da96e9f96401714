"""What the README tells a newcomer to type is understood by today's commands."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines() -> list[str]:
    """The commands in the README's sh blocks, without their remarks."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
    lines = (line.split("  #")[0].rstrip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line]


SEGNET = [line for line in shell_lines() if line.startswith("segnet ")]


def test_the_first_command_comes_early_and_the_page_is_short() -> None:
    lines = README.splitlines()
    assert next(number for number, line in enumerate(lines, start=1) if line.startswith("make ")) < 25
    assert len(lines) < 150


@pytest.mark.parametrize("line", SEGNET)
def test_every_option_the_readme_names_is_one_of_that_command(line: str) -> None:
    words = shlex.split(line)[1:]
    has_subcommands = words[0] in ("data", "keys", "models", "recipe")
    command = words[:2] if has_subcommands else words[:1]
    help_text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in help_text, f"{line}: {option} is not in the help"


def test_every_subcommand_is_there() -> None:
    for name in COMMANDS:
        assert (ROOT / "cli" / f"{name}.py").is_file()


def test_every_make_target_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    assert named <= targets


def test_files_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
