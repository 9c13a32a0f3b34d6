"""The settings that are installed: with every line put into force, they are settings that the roles accept."""

import re
from pathlib import Path

import pytest

from zgrid.settings import ROLES, load

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.mark.parametrize("role", ["ventilator", "worker", "sink"])
def test_every_line_of_a_skeleton_can_be(role, tmp_path):
    """Each setting that a skeleton shows is one that its role accepts, and all that is needed is there."""
    text = (SYSTEMD / f"{role}.toml").read_text()
    file = tmp_path / "skeleton.toml"
    file.write_text(re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE))
    shown = re.findall(r"^(\w+) = ", file.read_text(), flags=re.MULTILINE)
    settings = load(ROLES[role], {}, file, {})
    assert len(shown) >= 3
    assert set(shown) <= settings.model_fields_set
