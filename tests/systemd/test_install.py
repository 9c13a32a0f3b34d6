"""scripts/install: once, again, and away, on a machine without a network."""

import shutil

import pytest
from machine import ROLES

pytestmark = [pytest.mark.grid, pytest.mark.timeout(300)]


def left(machine):
    """Return every file that an installation has made, but for settings and what the roles keep."""
    places = ["/usr/local", "/opt/zgrid", "/etc/systemd/system"]
    return set(machine.run("find", *places, "-path", "*zgrid*", "!", "-type", "d").split())


def test_again_and_away(boot, folder, tmp_path):
    """Run again it changes nothing, or starts anew what has changed; uninstalled, settings and results are left."""
    program = tmp_path / "program"
    shutil.copytree(folder / "program", program, symlinks=True)
    machine = boot(program)
    for words, said in {
        ("--prefix", "/opt/none"): "name worker, sink or ventilator",
        ("sinc",): "there is no role or option sinc",
        ("ventilator@a/b",): "a/b is no name",
        ("--prefix", "/home/zgrid", "sink"): "services do not see /home",
        ("--wheelhouse", "/srv", "sink"): "/srv has no zgrid",
    }.items():
        assert said in machine.run("/src/scripts/install", *words, check=False)
    filters = left(machine)

    told = machine.install("sink", "ventilator@second")
    for wanted in ("/etc/zgrid/sink.toml", "/etc/zgrid/ventilator/second.toml", "systemctl start zgrid.target"):
        assert wanted in told
    assert 'name = "second"' in machine.path("/etc/zgrid/ventilator/second.toml").read_text()
    assert "sudo zgrid keys enroll NAME" in told
    names = {path.name for path in machine.path("/etc/zgrid/keys").iterdir()}
    assert names == {"ventilator.key", "sink.key", "operator.key", "allowed.toml"}
    machine.run("systemctl", "start", ROLES["sink"])
    assert [line["key"] for line in machine.events("sink", "keys")] == ["sink"]
    first = machine.pid("sink")
    machine.set_up("sink", "# a remark\n")

    machine.install("sink")
    assert machine.pid("sink") == first, "what has not changed was started again"
    assert machine.path("/etc/zgrid/sink.toml").read_text().endswith("# a remark\n")
    machine.write("/usr/local/lib/systemd/system/zgrid.slice", "[Slice]\nMemoryMax=1%\n")
    machine.install()
    assert "MemoryMax=90%" in machine.path("/usr/local/lib/systemd/system/zgrid.slice").read_text()
    assert machine.pid("sink") not in {0, first}, "what has changed was not started again"
    assert "0.1" in machine.run("zgrid", "--version")

    told = machine.install("--uninstall")
    assert "/etc/zgrid" in told
    assert left(machine) == {file for file in filters if file.startswith("/opt/zgrid/filters/")}
    assert machine.unit("sink")["ActiveState"] == "inactive"
    assert not machine.run("pgrep", "-f", "zgrid", check=False).split()
    assert machine.path("/etc/zgrid/sink.toml").exists()
    assert machine.path("/var/lib/zgrid/sink/results.sqlite").exists()
