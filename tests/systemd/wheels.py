"""A wheelhouse without a network: zgrid's wheel as a build makes it, and a thin one for each package that it needs.

Thin wheels have a name and a version, and one of them a line that leads Python to the packages that run these tests. So
a test installs zgrid with pip for real and need not unpack half a gigabyte to do it.
"""

import re
import sysconfig
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import zgrid
from zgrid import models

ROOT = Path(__file__).parents[2]
PACKAGES = "/packages"
"""Where the packages that run these tests are seen on the machine."""


def site():
    """Return the folder of the packages that run these tests."""
    return Path(sysconfig.get_path("purelib"))


def write(folder):
    """Fill ``folder`` with wheels, and with the detector's model where there is one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", wanted)[0] for wanted in project["dependencies"]]
    for name in names:
        files = {"packages_of_tests.pth": PACKAGES} if name == names[0] else {}
        wheel(folder, name, version(name), files)
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "zgrid").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    entries = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in groups.items()
    )
    wheel(folder, "zgrid", zgrid.__version__, files, project["dependencies"], entries)
    model = models.find("yunet")
    if model is not None:
        (folder / "models").mkdir()
        (folder / "models" / model.name).write_bytes(model.read_bytes())


def wheel(folder, name, number, files, requires=(), entries=""):
    """Write one wheel."""
    name = name.replace("-", "_")
    info = f"{name}-{number}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    parts = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entries,
    }
    record = "".join(f"{part},,\n" for part in [*parts, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as archive:
        for part, content in {**parts, f"{info}/RECORD": record}.items():
            archive.writestr(part, content)
