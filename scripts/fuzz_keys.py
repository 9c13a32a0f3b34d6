"""Files of keys: bytes are a key or a list, or one sentence; and who is in a list can be told to sinks.

An input is which it is read as (even: a key, odd: a list), and the text.
"""

import random
import tempfile
from pathlib import Path

from fuzz_bytes import mutate_bytes

from zgrid.errors import SettingsError
from zgrid.protocol.wire import decode, encode
from zgrid.transport.keyring import (
    Key,
    Member,
    grid_of,
    members_of,
    read_key,
    read_list,
    roster_of,
    write_key,
    write_list,
)

BYTES_MAX = 4096
MEMORY_MIB_MAX = 64
FOLDER = Path(tempfile.mkdtemp(prefix="zgrid-fuzz-"))
FILE = FOLDER / "w1.key"
PUBLIC, SECRET = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
"""The pair that ZeroMQ's own description of CURVE shows: nobody's secret."""
LINES = ('name = ""', "name = 1", "role = 'worker'", 'role = "nobody"', "at = 1", "at = [1]", 'at = ["tcp://x:1"]',
    "calls = 1", "calls = [1]", "allowed = 1", "[[calls]]", "[[allowed]]", "[allowed]", 'since = "x"',
    "since = 1979-05-27",
    "zgrid = 2", "zgrid = true", f'public = "{SECRET}"', "x = " + "[" * 2000, 'public = "\\u00e9"', 'grid = "y"',
)  # fmt: skip


def seeds() -> list[bytes]:
    """Return a key and a list as zgrid writes them."""
    for file in FOLDER.iterdir():
        file.unlink()
    member = Member("v", "ventilator", PUBLIC, ("tcp://v:5550",), "2026-11-27")
    write_key(FILE, Key(FILE, "grid", "worker", "w1", PUBLIC, SECRET, (member,)))
    write_list(FOLDER / "list", "grid", [member, member._replace(name="w1", role="worker", at=())])
    return [b"\0" + FILE.read_bytes(), b"\1" + (FOLDER / "list").read_bytes()]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a line, or bytes."""
    if rng.random() < 0.5:
        return mutate_bytes(data, rng)
    lines = data[1:].decode(errors="replace").splitlines()
    at = rng.randrange(len(lines) + 1)
    lines[at : at + rng.randrange(2)] = [rng.choice(LINES)]
    return data[:1] + "\n".join(lines).encode()


def attack(data: bytes) -> None:
    """Read it as either."""
    FILE.write_bytes(data[1:])
    FILE.chmod(0o600)
    try:
        if data and data[0] % 2:
            grid_of(FILE)
            roster = roster_of(read_list(FILE, "grid"))
            assert decode(encode(roster)) == roster
            members_of(roster)
        else:
            key = read_key(FILE)
            assert SECRET not in repr(key) or key.secret != SECRET, "a secret that is shown"
    except SettingsError as error:
        assert str(error), "no reason"
        assert SECRET not in str(error), "a secret in a sentence"
