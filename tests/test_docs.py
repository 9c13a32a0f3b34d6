"""What README and the pages say is true: commands exist with the options shown, links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from zgrid.cli import app
from zgrid.log import EVENTS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "zgrid").rglob("*.md"))]


def commands() -> list[str]:
    """Return every zgrid command line in README's blocks of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("zgrid ")]


def help_of(*words: str) -> str:
    """Return what a command says of itself."""
    command = [sys.executable, "-m", "zgrid", *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("line", commands())
def test_readme_command(line):
    """Each command line of README names a command that exists, with options that it has."""
    words = shlex.split(line)[1:]
    shown = help_of(words[0])
    for word in words[1:]:
        if word.startswith("--"):
            assert re.search(rf"{word.split('=')[0]}\b", shown), f"{line}: zgrid {words[0]} has no {word}"


def test_readme_has_commands():
    """The search for command lines finds some, so the test above is not empty."""
    assert len(commands()) >= 5


@pytest.mark.parametrize("script", re.findall(r"`?(scripts/\w+)", README))
def test_readme_script(script):
    """Each script that README names is there and can be run."""
    path = ROOT / script
    assert path.is_file()
    assert path.stat().st_mode & 0o111, f"{script} cannot be executed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    """Each relative link leads to a file."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def flags_of_scripts() -> set[str]:
    """Return the flags that the scripts README names say they have."""
    helps = [
        subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
        for script in sorted(set(re.findall(r"scripts/\w+", README)))
    ]
    return set(re.findall(r"--[a-z][a-z-]*", "\n".join(helps)))


def test_flags_in_readme():
    """Each flag in README's text is one of a command or of a script that README names."""
    known = {flag for command in get_command(app).commands.values() for one in command.params for flag in one.opts}
    known |= flags_of_scripts()
    for flag in re.findall(r"`(--[a-z][a-z-]*)", README):
        assert flag in known, f"README speaks of {flag}, which nothing has"


def test_events_in_readme():
    """Each event that README names is in the vocabulary."""
    table = README.split("| When this dies")[1].split("\n\n")[0]
    for event in re.findall(r"`([a-z]+_[a-z]+)`", table):
        assert event in EVENTS, f"README speaks of the event {event}, which is never logged"


def test_changelog_has_a_place_for_what_is_new():
    """CHANGELOG.md keeps its shape: an unreleased part, with headings of the four kinds only."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in text
    assert set(re.findall(r"^### (\w+)", text, re.MULTILINE)) <= {"Added", "Changed", "Fixed", "Removed"}
