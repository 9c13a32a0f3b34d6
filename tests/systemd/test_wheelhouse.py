"""scripts/wheelhouse: everything in one folder, so that pip needs no network afterwards."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from zgrid import models

ROOT = Path(__file__).parents[2]


def pip(*words):
    """Run pip and return what became of it."""
    return subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not os.environ.get("ZGRID_SLOW"), reason="downloads 100 MB of packages: ZGRID_SLOW=1")
def test_everything_is_in_one_folder(tmp_path, monkeypatch):
    """What pip would install from it is zgrid with all that it needs; the model is there too, and no trace in here."""
    if pip("download", "--quiet", "--no-deps", "--dest", str(tmp_path / "probe"), "platformdirs").returncode:
        pytest.skip("pip reaches no index of packages here")
    before = {path.name for path in ROOT.iterdir()}
    to = tmp_path / "wheelhouse"
    monkeypatch.setenv("PYTHON", sys.executable)
    done = subprocess.run(
        [ROOT / "scripts/wheelhouse", "--to", to], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--no-index", "--find-links", str(to), "zgrid"]
    assert pip(*words).returncode == 0
    wheels = {path.name.split("-")[0].replace("_", "-").lower() for path in to.glob("*.whl")}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert wheels >= {re.match(r"[\w-]+", one)[0].lower() for one in wanted} | {"zgrid"}
    assert (to / "models" / models.MODELS["yunet"].file).is_file()
    assert {path.name for path in ROOT.iterdir()} - before <= {".pytest_cache"}
