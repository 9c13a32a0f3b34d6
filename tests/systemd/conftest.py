"""Fixtures: machines with zgrid on them, and images for them."""

import shutil
import sys
from pathlib import Path

import pytest
import wheels
from machine import ROLES, ROOT, TESTS, Machine, SandboxError, reason_not_to

sys.path.append(str(TESTS / "grid"))  # for what makes photographs


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with what every machine is shown: wheels, images, filters, and the program once it is installed."""
    if reason := reason_not_to():
        pytest.skip(reason)
    import photographs  # noqa: PLC0415  its folder is known only now

    folder = tmp_path_factory.mktemp("machine")
    for name in ("wheelhouse", "program/filters", "images"):
        (folder / name).mkdir(parents=True)
    wheels.write(folder / "wheelhouse")
    shutil.copy(TESTS / "filters_for_tests.py", folder / "program/filters")
    if not photographs.write(folder / "images/photographs", 24):
        pytest.skip("no photographs here: pip install scikit-image")
    photographs.tiny(folder / "images/many", 300)
    photographs.tiny(folder / "images/few", 6)
    return folder


@pytest.fixture
def boot(folder):
    """Boots machines with /opt/zgrid as named, without zgrid installed; they end with the test."""
    machines = []

    def boot(program: Path):
        shown = [
            f"{ROOT}/scripts:/src/scripts",
            f"{ROOT}/systemd:/src/systemd",
            f"{wheels.site()}:{wheels.PACKAGES}",
            f"{folder}/wheelhouse:/wheelhouse",
            f"{folder}/images:/srv/images",
            f"{program}:/opt/zgrid:rw",
        ]
        try:
            machines.append(Machine(*shown))
        except SandboxError as error:
            pytest.skip(f"no systemd can be booted here: {error}")
        return machines[-1]

    yield boot
    for machine in machines:
        machine.close()


@pytest.fixture
def machine(boot, folder):
    """A machine with all roles installed, and not started."""
    machine = boot(folder / "program")
    machine.install(*ROLES)
    return machine
