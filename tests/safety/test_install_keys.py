"""What scripts/install does about keys, by the files that are there: an update names no roles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install"
PARTS = re.findall(r"^(?:install_keys|say_keys)\(\).*?^}$", SCRIPT.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def update(tmp_path):
    """Run what an installation does about keys without any role; return what it says."""
    program = tmp_path / "venv" / "bin" / "zgrid"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zgrid "$@"\n')
    program.chmod(0o755)
    words = f"set -euo pipefail; umask 022; roles=() changed=''; prefix={tmp_path} etc={tmp_path}/etc"
    text = "\n".join([words, 'say() { printf "%s\\n" "$*"; }', *PARTS, "install_keys", "say_keys"])

    def run(*files):
        for file in files:
            path = tmp_path / "etc" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        done = subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_update_enrolls_the_worker_beside_a_ventilator_and_keeps_its_sink(update, tmp_path):
    """The local worker gets a key, once, and the local sink's key is not to be carried away."""
    for _ in range(2):
        said = update("ventilator/main.toml", "worker.toml", "sink.toml")
        assert "carry" not in said
        names = {path.name for path in (tmp_path / "etc" / "keys").iterdir()}
        assert names == {"ventilator.key", "sink.key", "operator.key", "worker.key", "allowed.toml"}


def test_update_says_what_is_missing_elsewhere(update):
    """Without a ventilator, the keys of what is there have to come from its machine."""
    said = update("worker.toml")
    assert "keys/worker.key" in said
    assert "sink.key" not in said
    assert "keys/sink.key" in update("sink.toml")


def test_sink_elsewhere_gets_its_key(update):
    """A ventilator's machine without a sink has the sink's key only to be carried away."""
    assert "carry" in update("ventilator/main.toml")
