"""scripts/fuzz works: each target that starts no process for a moment, and what it finds is told and kept."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "fuzz"
sys.path.append(str(ROOT / "scripts"))

import fuzz_targets  # noqa: E402  only there once the path is set


def fuzz(*words):
    return subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=120, check=False)


def attacked(folder, *names):
    return fuzz(*names, "--engine=chance", "--minutes=0.015", f"--folder={folder}")


@pytest.mark.parametrize("name", fuzz_targets.PURE)
def test_nothing_is_found_in_a_second(tmp_path, name):
    """Every target runs, tries its seeds, and tells how many inputs it tried."""
    done = attacked(tmp_path, name)
    assert done.returncode == 0, done.stdout + done.stderr
    told = next(line for line in done.stdout.splitlines() if "executions in" in line)
    assert int(told.split()[1].replace(",", "")) >= 1
    assert told.endswith("0 found")
    assert list((tmp_path / name / "corpus").iterdir())


def test_what_is_found_is_kept_and_can_be_replayed(tmp_path):
    """An input at fault is a file, with the command that tries it again; the exit status says that there is one."""
    broken = tmp_path / "scripts"
    broken.mkdir()
    for file in (ROOT / "scripts").glob("fuzz*"):
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "fuzz").chmod(0o755)
    target = broken / "fuzz_orientation.py"
    target.write_text(target.read_text() + "\n\ndef attack(data):\n    assert len(data) < 5, 'too long'\n")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    words = ("orientation", "--engine=chance", "--minutes=0.015", f"--folder={tmp_path / 'kept'}")
    done = subprocess.run([broken / "fuzz", *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "too long" in done.stdout
    again = next(line for line in done.stdout.splitlines() if "again: " in line).split()
    assert len(Path(again[-1]).read_bytes()) >= 5
    replayed = subprocess.run([broken / "fuzz", *again[2:]], capture_output=True, text=True, timeout=120, check=False)
    assert replayed.returncode == 1
    assert "too long" in replayed.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_ends_its_engine_and_tells_what_came_of_it(tmp_path, how):
    """Ctrl-C and SIGTERM do the same: the engine, which has a session of its own, does not run on alone."""
    words = fuzz_targets.PURE[:2]
    command = [SCRIPT, *words, "--engine=chance", "--minutes=60", f"--folder={tmp_path}"]
    script = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    engine = 0
    try:
        deadline = time.monotonic() + 90
        while not (tmp_path / words[0] / "state.json").exists():
            assert script.poll() is None
            assert time.monotonic() < deadline, "the engine did not begin"
            select.select([], [], [], 0.02)
        engine = int(Path(f"/proc/{script.pid}/task/{script.pid}/children").read_text())
        script.send_signal(how)
        said, wrong = script.communicate(timeout=90)
        assert script.returncode == 0, wrong
        assert [line.split()[0] for line in said.splitlines() if "executions in" in line] == [f"{words[0]}:"]
        assert not wrong
        assert not Path(f"/proc/{engine}").exists()
    finally:
        script.kill()
        script.wait()
        if engine and Path(f"/proc/{engine}").exists():
            os.kill(engine, signal.SIGKILL)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no target nothing"),
        (["--minutes=0"], "--minutes must be more than 0"),
        (["wire", "--replay=/nowhere"], "there is no file /nowhere"),
        (["--replay=/nowhere"], "--replay wants the one target"),
    ],
)
def test_mistakes_are_told_in_a_sentence(words, said):
    """No traceback, and the exit status of a wrong command line."""
    done = fuzz(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
