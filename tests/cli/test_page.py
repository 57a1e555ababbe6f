"""The page of the command line is what the commands say of themselves."""

from __future__ import annotations

import re

import generate_cli
import pytest

from cloudcached.cli import command_line

pytestmark = pytest.mark.checkout


def test_the_page_is_current() -> None:
    assert generate_cli.PAGE.read_text(encoding="utf-8") == generate_cli.page(), "run: make generate"


def test_every_verb_is_on_the_page() -> None:
    text = generate_cli.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## ([a-z]+)$", text, re.MULTILINE) == sorted(command_line.commands)
    assert len(command_line.commands) > 10


def test_every_option_says_what_it_is_for() -> None:
    bare = [
        f"{name} {option.opts[0]}"
        for name, command in command_line.commands.items()
        for option in command.params
        if option.param_type_name == "option" and not option.help
    ]
    assert bare == []
