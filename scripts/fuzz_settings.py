"""Settings: a TOML file, or environment variables, of any content are settings or one sentence.

An input is the role, where the settings stand (even: a file, odd: the environment), and the text.
"""

import random
import tempfile
from pathlib import Path

from fuzz_bytes import VALUES, mutate_bytes

from zgrid.errors import SettingsError
from zgrid.settings.load import load
from zgrid.settings.tables import ROLES, variable_of

BYTES_MAX = 4096
MEMORY_MIB_MAX = 64
FILE = Path(tempfile.mkdtemp(prefix="zgrid-fuzz-")) / "zgrid.toml"
MODELS = tuple(ROLES.values())
SKELETONS = Path(__file__).resolve().parent.parent / "systemd"
TEXTS = ("", "x", "-1", "0", "1e9", "99999999999999999999999", "tcp://*:5550", "tcp://[::1]:70000", "ipc://x",
    "5600-5999",
    "9-1", "true", "1h", "10 MB", "1.5GiB", "nan", "faces:x=1", "faces highlight:width_px=4", "\u00e9", "'a",
    "1970-13-99")  # fmt: skip


def seeds() -> list[bytes]:
    """Return the skeletons of the services, with their comments taken off, and every setting once."""
    files = [file.read_text() for file in sorted(SKELETONS.glob("*.toml"))]
    files += ["\n".join(line.removeprefix("# ").removeprefix("#") for line in file.splitlines()) for file in files]
    out = [bytes((role, 0)) + file.encode() for role in range(len(MODELS)) for file in files]
    for role, model in enumerate(MODELS):
        names = list(model.model_fields)
        out += [
            bytes((role, 0)) + "\n".join(f'{name} = "x"' for name in names[at : at + 3]).encode()
            for at in range(0, len(names), 3)
        ]
        out += [
            bytes((role, 1)) + "\n".join(f"{variable_of(name)}=1" for name in names[at : at + 3]).encode()
            for at in range(0, len(names), 3)
        ]
    return out


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Give one setting another value, or change bytes."""
    lines = data[2:].decode(errors="replace").splitlines()
    if not lines or rng.random() < 0.4:
        return mutate_bytes(data, rng)
    at = rng.randrange(len(lines))
    name = lines[at].partition("=")[0].strip()
    if rng.random() < 0.3:
        name = rng.choice(list(rng.choice(MODELS).model_fields))
    odd = rng.choice(VALUES)
    text = rng.choice(TEXTS)
    value = rng.choice(
        (repr(odd), f'"{text}"', text, f'["{text}"]', f'["{text}", 1]', "{}", "[[]]", "[" * 2000, "1979-05-27")
    )
    lines[at] = f"{variable_of(name)}={text}" if data[1] % 2 else f"{name} = {value}"
    return data[:2] + "\n".join(lines).encode(errors="replace")


def attack(data: bytes) -> None:
    """Load it."""
    if len(data) < 2:
        return
    model = MODELS[data[0] % len(MODELS)]
    environ: dict[str, str] = {}
    config = None
    if data[1] % 2:
        for line in data[2:].decode(errors="replace").replace("\0", "").splitlines():
            name, _, value = line.partition("=")
            environ[name] = value
        environ.pop("ZGRID_CONFIG", None)
    else:
        FILE.write_bytes(data[2:])
        config = FILE
    try:
        load(model, {}, config, environ)
    except SettingsError as error:
        assert str(error), "no reason"
