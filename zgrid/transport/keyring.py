"""Keys on disk: who somebody is, whom they may call, and, where people enroll, who is allowed. No socket is here.

Two kinds of small TOML files. A *key file* is a secret: a role, a name, one pair of CURVE keys, and the public keys of
those whom it calls. It is all that a machine needs. The *list* (``allowed.toml``) holds public keys only and lies in
the folder where people enroll, beside the ventilator's own key file; whoever may write to it decides who is in.
"""

import json
import os
import re
import struct
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from platformdirs import user_config_path
from zmq.utils import z85

from zgrid.errors import SettingsError
from zgrid.protocol.limits import MEMBERS_MAX
from zgrid.protocol.messages import PUBLIC_KEY_BYTES, Roster
from zgrid.protocol.rights import ROLES

FORMAT = 1
"""Of both kinds of file. One that is newer is refused with a sentence."""

LIST = "allowed.toml"
SYSTEM_FOLDER = Path("/etc/zgrid/keys")
FILE_BYTES_MAX = 4 << 20

_KEY = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


class Member(NamedTuple):
    """Somebody who belongs to the grid. ``public``: 40 characters of Z85; ``at``: where it is reached."""

    name: str
    role: str
    public: str
    at: tuple[str, ...] = ()
    since: str = ""


class Curve(NamedTuple):
    """What a socket that connects needs: its own pair, and the public key of whom it calls; all of them Z85."""

    public: bytes
    secret: bytes
    server: bytes

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Set the options; before the socket connects."""
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = self


@dataclass(frozen=True)
class Key:
    """A key file that was read. ``calls``: whom it may call, or for a sink, whom it trusts."""

    path: Path
    grid: str
    role: str
    name: str
    public: str
    secret: str
    calls: tuple[Member, ...] = ()

    def __repr__(self) -> str:
        """Show no secret, wherever this may be printed."""
        return f"Key({self.role} {self.name}, {self.path})"

    def calling(self, address: str, role: str, members: Sequence[Member] | None = None) -> Curve:
        """Return what is needed to call a process of ``role`` at ``address``. Raises SettingsError.

        ``members``: whom to look among, instead of those that the file names.
        """
        known = [one for one in (self.calls if members is None else members) if one.role == role]
        # The first of a role is enrolled before anybody thinks of a second, and so without an address.
        found = [one for one in known if address in one.at] or [one for one in known if not one.at] or known
        if len(found) == 1:
            return self.curve(found[0].public)
        if found:
            raise SettingsError(
                f"{address}: {self.path} knows {len(found)} of the role {role}, and not which of them that is; enroll "
                f"them, and then this one again, with --at ADDRESS"
            )
        raise SettingsError(f"{address}: {self.path} names no {role} that it may call: is it the right file?")

    def curve(self, server: str) -> Curve:
        """Return what is needed to call whoever has this public key."""
        return Curve(self.public.encode(), self.secret.encode(), server.encode())


# -- on the wire


def raw(public: str) -> bytes:
    """Return the 32 bytes of a public key."""
    return bytes(z85.decode(public))


def split(keys: bytes) -> list[str]:
    """Return public keys of 32 bytes each, end to end, as text."""
    return [z85.encode(keys[at : at + PUBLIC_KEY_BYTES]).decode() for at in range(0, len(keys), PUBLIC_KEY_BYTES)]


def roster_of(members: Iterable[Member]) -> Roster:
    """Return members as a message."""
    told = list(members)[:MEMBERS_MAX]
    names, roles = [one.name for one in told], [one.role for one in told]
    places = [one.at[0] if one.at else "" for one in told]
    return Roster(names=names, roles=roles, keys=b"".join(raw(one.public) for one in told), places=places)


def members_of(roster: Roster) -> list[Member]:
    """Return the members in a message; roles that are unknown here give no rights, and are left out."""
    columns = zip(roster.names, roster.roles, split(roster.keys), roster.places, strict=True)
    return [
        Member(name, role, public, (place,) if place else ()) for name, role, public, place in columns if role in ROLES
    ]


# -- where they are


def default_folder() -> Path:
    """Return where keys are looked for unless it is said: /etc/zgrid/keys for root and for services."""
    if os.geteuid() == 0 or os.environ.get("CREDENTIALS_DIRECTORY"):
        return SYSTEM_FOLDER
    return user_config_path("zgrid") / "keys"


def find_key(role: str, keys: Path | None) -> Key | None:
    """Return the key of ``role`` that this process has; None where there are no keys at all, and none were named.

    ``keys``: a folder or a key file. Without it, the credentials that systemd passed on come before the default folder.
    Raises SettingsError with one sentence for whatever is wrong with them.
    """
    if keys is None:
        passed = _passed(role)
        if passed is not None:
            return read_key(passed, role)
        keys = default_folder()
        if not any(keys.glob("*.key")):
            return None
    if not keys.exists():
        raise SettingsError(f"--keys {keys}: there is no such folder or file; zgrid keys init makes a grid's folder")
    return read_key(keys if keys.is_file() else _only(keys, role), role)


def plain_call(address: str) -> str:
    """Return the sentence that warns of a call to another machine without keys."""
    return (
        f"{address} is called without keys: nothing is encrypted, and whoever is in between may read and change it; "
        f"--keys names them (zgrid keys enroll makes some), or say --insecure where that is meant"
    )


def list_of(key: Key) -> Path | None:
    """Return the list that a ventilator's or operator's key file belongs to; None where it is on another machine."""
    beside = key.path.parent / LIST
    if beside.exists():
        return beside
    return SYSTEM_FOLDER / LIST if _is_passed(key.path) and (SYSTEM_FOLDER / LIST).exists() else None


def _passed(role: str) -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / f"{role}.key" if folder else None
    # A unit without keys still has an empty credential: that is how systemd is told that it may be missing.
    return path if path is not None and path.is_file() and path.stat().st_size > 1 else None


def _is_passed(path: Path) -> bool:
    return str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY")


def _only(folder: Path, role: str) -> Path:
    """Return the one file in a folder that is a key of this role."""
    if (folder / f"{role}.key").exists():
        return folder / f"{role}.key"
    # What this user may not read, such as an operator's key where a service looks, cannot be meant.
    readable = [path for path in sorted(folder.glob("*.key")) if os.access(path, os.R_OK)]
    found = [path for path in readable if read_key(path).role == role]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise SettingsError(f"{folder} has several keys for a {role} ({names}): name the file with --keys")
    raise SettingsError(
        f"{folder} has no key for the role {role}: zgrid keys enroll NAME --role {role} makes one, on the ventilator's "
        f"machine (or say --insecure to do without keys)"
    )


# -- reading


def read_key(path: Path, role: str | None = None) -> Key:
    """Return a key file, which has to be of ``role`` where that is given. Raises SettingsError, one sentence."""
    table = _read(path, secret=True)
    grid, own, name, public, secret = (
        _text(path, table, word) for word in ("grid", "role", "name", "public", "secret")
    )
    key = Key(path, grid, own, name, public, secret)
    _check(path, key.role, key.public)
    if not _is_key(key.secret) or zmq.curve_public(key.secret.encode()) != key.public.encode():
        raise SettingsError(f"{path} is damaged: its two keys do not belong together; enroll {key.name} anew")
    if role is not None and key.role != role:
        raise SettingsError(f"{path} is the key of {key.name}, whose role is {key.role} and not {role}")
    return Key(**{**vars(key), "calls": _members(path, table, "calls")})


def read_list(path: Path, grid: str | None = None) -> tuple[Member, ...]:
    """Return who is allowed. Raises SettingsError, also for the list of another grid than ``grid``."""
    table = _read(path, secret=False)
    if grid is not None and _text(path, table, "grid") != grid:
        raise SettingsError(f"{path} is the list of another grid than the key file beside it: one of them was copied")
    return _members(path, table, "allowed")


def grid_of(path: Path) -> str:
    """Return the grid that a list is of. Raises SettingsError."""
    return _text(path, _read(path, secret=False), "grid")


def _read(path: Path, *, secret: bool) -> dict[str, Any]:
    """Return the table in a file that is ours, and that nobody else may read, or for a list, write to."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    # systemd keeps credentials in a folder that only the service can enter, with an ACL that looks like 0440.
    if secret and mode & (0o007 if _is_passed(path) else 0o077):
        raise SettingsError(f"{path} is a secret that others could read: chmod 600 {path}")
    if mode & 0o022:
        raise SettingsError(f"{path} could be changed by others: chmod go-w {path}")
    try:
        table = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is damaged, or no file of keys: fetch it anew from where it was made") from None
    if table.get("zgrid") != FORMAT:
        raise SettingsError(f"{path} is no file of keys that this zgrid knows: it begins with zgrid = {FORMAT}")
    return table


def _text(path: Path, table: dict[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{path} is damaged: it does not say its {name}; fetch it anew from where it was made")
    return value


def _is_key(text: str) -> bool:
    """Whether a text is 32 bytes in Z85: five of its letters can say more than four bytes have room for."""
    try:
        return bool(_KEY.fullmatch(text)) and len(raw(text)) == PUBLIC_KEY_BYTES
    except struct.error:
        return False


def _check(path: Path, role: str, public: str) -> None:
    if role not in ROLES or not _is_key(public):
        raise SettingsError(f"{path} is damaged: it has a role or a key that cannot be; fetch it anew")


def _members(path: Path, table: dict[str, Any], name: str) -> tuple[Member, ...]:
    entries = table.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise SettingsError(f"{path} is damaged: {name} is not what it should be; fetch it anew")
    members = []
    for entry in entries:
        at = entry.get("at", [])
        if not isinstance(at, list) or not all(isinstance(address, str) for address in at):
            raise SettingsError(f"{path} is damaged: an address in it is none")
        own, role, public = (_text(path, entry, word) for word in ("name", "role", "public"))
        members.append(Member(own, role, public, tuple(at), str(entry.get("since", ""))))
        _check(path, members[-1].role, members[-1].public)
    return tuple(members)


# -- writing


def check_name(name: str) -> str:
    """Return a name that can also be a file's. Raises SettingsError."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r} is no name for a key: write letters, digits and . _ - @, at most 64")
    return name


def write_key(path: Path, key: Key) -> None:
    """Write a key file that only its owner may read; one that is there already is not touched. Raises SettingsError."""
    head = f"# zgrid: whoever has this file is {key.name}, a {key.role}. Keep it secret: chmod 600\n"
    texts = {name: getattr(key, name) for name in ("grid", "role", "name", "public", "secret")}
    text = head + _table(texts) + _entries("calls", key.calls)
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600), encoding="ascii") as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink()  # half a key is of no use, and would be in the way of a whole one
                raise
    except FileExistsError:
        raise SettingsError(f"{path} is there already: move it away first, nobody else has that key") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None


def write_list(path: Path, grid: str, members: Iterable[Member]) -> None:
    """Replace the list in one step, so that a ventilator that looks finds the old one or the new one."""
    head = (
        "# zgrid: who is allowed. zgrid keys enroll and zgrid keys revoke write it; a ventilator that runs follows.\n"
    )
    new = path.with_name(path.name + ".new")
    try:
        with new.open("w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(head + _table({"grid": grid}) + _entries("allowed", members))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # or who is revoked could be back after a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None


def _table(texts: dict[str, str]) -> str:
    return f"zgrid = {FORMAT}\n" + "".join(f"{name} = {json.dumps(text)}\n" for name, text in texts.items())


def _entries(name: str, members: Iterable[Member]) -> str:
    parts = []
    for one in members:
        lines = [
            f"\n[[{name}]]",
            *(f"{word} = {json.dumps(getattr(one, word))}" for word in ("name", "role", "public")),
        ]
        lines += [f"at = {json.dumps(list(one.at))}"] if one.at else []
        lines += [f'since = "{one.since}"'] if one.since else []
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)
