"""The folder where people enroll: a grid is made, members come and go. A ventilator that runs follows by itself."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import zmq

from zgrid.errors import SettingsError
from zgrid.protocol.limits import MEMBERS_MAX
from zgrid.protocol.rights import OPERATOR, SINK, VENTILATOR, WORKER
from zgrid.transport.keyring import LIST, Key, Member, check_name, grid_of, read_key, read_list, write_key, write_list

_CALLED = {
    WORKER: (VENTILATOR,),
    SINK: (VENTILATOR,),
    OPERATOR: (VENTILATOR, SINK),
    VENTILATOR: (VENTILATOR, SINK),
}
"""Role -> the roles whose public keys its file has."""


class Enrolment:
    """A grid's folder. Every method raises SettingsError with a sentence where it cannot be done; then nothing is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._list = folder / LIST

    def init(self, name: str) -> list[Path]:
        """Make a grid; return the files of its ventilator, its sink (to be carried there) and its operator."""
        check_name(name)
        if self._list.exists():
            raise SettingsError(f"{self.folder} has the keys of a grid already: zgrid keys enroll NAME adds to it")
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{self.folder} cannot be made: {error.strerror}") from None
        grid = os.urandom(8).hex()
        with self._locked():
            members: list[Member] = []
            files = []
            for role, called in ((VENTILATOR, name), (SINK, SINK), (OPERATOR, OPERATOR)):
                taken = {one.name for one in members}
                own = called if called not in taken else f"{called}-1"
                files.append(self._add(members, grid, own, role, (), f"{role}.key"))
            write_list(self._list, grid, members)
        return files

    def enroll(self, name: str, role: str, at: Sequence[str] = (), call: str | None = None) -> Path:
        """Let a new member in and return its file, which is to be carried to its machine.

        ``at``: where it is reached, for who calls several of its role. ``call``: where the ventilator of this folder
        is reached, which another ventilator must know.
        """
        check_name(name)
        with self._locked():
            grid, members = grid_of(self._list), list(self.members())
            if len(members) >= MEMBERS_MAX:
                raise SettingsError(f"a grid has at most {MEMBERS_MAX} members: revoke some")
            for one in members:
                if one.name == name:
                    raise SettingsError(
                        f"{name} is enrolled already, as a {one.role}: revoke it first, or name another"
                    )
            if role == VENTILATOR:
                if call is None:
                    raise SettingsError("another ventilator has to know where this one is reached: --call ADDRESS")
                members = [one._replace(at=(call,)) if one.public == self._own() else one for one in members]
            path = self._add(members, grid, name, role, tuple(at), f"{name}.key")
            write_list(self._list, grid, members)
        return path

    def revoke(self, name: str) -> Member:
        """Let a member in no longer, and return who that was; its file, if it still lies here, is removed."""
        with self._locked():
            members = self.members()
            gone = next((one for one in members if one.name == name), None)
            if gone is None:
                raise SettingsError(f"nobody here is called {name}: zgrid keys list shows who is")
            if gone.public == self._own():
                raise SettingsError(f"{name} is the ventilator of this folder: to end the grid, remove the folder")
            write_list(self._list, grid_of(self._list), [one for one in members if one is not gone])
            for path in self.folder.glob("*.key"):
                with suppress(SettingsError):  # one that is damaged tells nobody whose it was
                    if read_key(path).public == gone.public:
                        path.unlink()
        return gone

    def members(self) -> tuple[Member, ...]:
        """Return who is allowed."""
        if not self._list.exists():
            raise SettingsError(f"{self.folder} has no keys of a grid: zgrid keys init makes one")
        return read_list(self._list)

    def _own(self) -> str:
        return read_key(self.folder / f"{VENTILATOR}.key", VENTILATOR).public

    def _add(self, members: list[Member], grid: str, name: str, role: str, at: tuple[str, ...], file: str) -> Path:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        # The first ventilator comes first: it is the one whose word on all others counts.
        calls = tuple(one._replace(since="") for one in members if one.role in _CALLED[role])
        path = self.folder / file
        write_key(path, Key(path, grid, role, name, public, secret, calls))
        members.append(Member(name, role, public, at, datetime.now(UTC).date().isoformat()))
        return path

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one command at a time change the folder."""
        try:
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SettingsError(
                f"{self.folder} cannot be opened ({error.strerror}): zgrid keys init makes it"
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
