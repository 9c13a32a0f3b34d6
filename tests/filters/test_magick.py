"""ImageMagick's library: found without a compiler, and by the name that somebody else gives it."""

import os
import subprocess
import sys

import pytest

from zgrid.filters import lines, magick

IMPORTS = "from zgrid.filters import lines; import os; print(lines.ready(), os.environ.get({!r}))"


def imported(folder, **environment):
    """Import what draws in a process that has no compiler but one that leaves a mark; return what it says."""
    for name in ("gcc", "cc", "ld"):
        fake = folder / name
        fake.write_text(f"#!/bin/sh\ntouch {folder}/asked\nexit 1\n")
        fake.chmod(0o755)
    given = {key: value for key, value in os.environ.items() if key != magick.LIBRARY_VARIABLE}
    command = [sys.executable, "-c", IMPORTS.format(magick.LIBRARY_VARIABLE)]
    path = f"{folder}:/usr/bin:/bin"
    return subprocess.run(
        command, env={**given, "PATH": path, **environment}, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.skipif(lines.ready() is not None, reason="ImageMagick is not installed")
def test_no_compiler_is_started(tmp_path):
    """The one library that is installed is named to Wand, which looks for no other."""
    ready, suffix = imported(tmp_path)
    assert ready == "None"
    if suffix == "None":
        pytest.skip("this system does not list its libraries, or has several of ImageMagick's")
    assert not (tmp_path / "asked").exists()


@pytest.mark.skipif(lines.ready() is not None, reason="ImageMagick is not installed")
def test_a_name_that_was_given_is_kept(tmp_path):
    """Who names a library has a reason; and where that is not there, Wand looks for the others."""
    assert imported(tmp_path, **{magick.LIBRARY_VARIABLE: "-9.none"}) == ["None", "-9.none"]
