"""What a setting may be: addresses, sizes, durations, ports, names; and how help shows it."""

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from platformdirs import user_data_path, user_state_path
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

MIB = 1 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE)
_TCP = re.compile(r"tcp://(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5}|\*)")
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
_WILDCARDS = frozenset({"*", "0.0.0.0", "[::]"})  # noqa: S104 - these are refused, not bound


@dataclass(frozen=True, slots=True)
class Shown:
    """How help shows a setting: what its value is called, as an argument or an option, limits after all others."""

    metavar: str = ""
    default: str = ""
    is_argument: bool = False
    is_limit: bool = False


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of ``tcp://HOST:PORT`` (port 0: any free one). Raises ValueError, saying what to write."""
    match = _TCP.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is no address: write tcp://HOST:PORT or ipc:///path")
    port = 0 if match[2] == "*" else int(match[2])
    if port > 65535:
        raise ValueError(f"{address!r} has a port above 65535")
    return match[1], port


def _bindable(address: str) -> str:
    """Check an address that we open ourselves."""
    if not _is_file(address):
        split_address(address)
    return address


def connectable(address: str) -> str:
    """Check an address at which somebody else is to be found."""
    if not _is_file(address):
        host, port = split_address(address)
        if host in _WILDCARDS or port == 0:
            raise ValueError(f"{address!r} says where to listen, not whom to call: name the host and the port")
    return address


def is_ipc(address: str) -> bool:
    """Tell an ipc address from another; libzmq's limit on its path is that of a Unix socket, 107 bytes."""
    if not address.startswith("ipc://"):
        return False
    path = os.fsencode(address.removeprefix("ipc://"))
    if not 0 < len(path) <= 107:
        raise ValueError(f"{address!r} needs a path of 1 to 107 bytes after ipc://")
    return True


def _is_file(address: str) -> bool:
    """Tell a setting that is an ipc address from another, and refuse a name that is no file: it has no permissions."""
    if is_ipc(address) and address.startswith("ipc://@"):
        raise ValueError(f"{address!r} would let in everybody on this machine: write ipc:// and the path of a file")
    return is_ipc(address)


def is_local(address: str) -> bool:
    """Whether only processes of this machine can reach what is bound at an address."""
    if is_ipc(address):
        return True
    host = split_address(address)[0].strip("[]")
    return host.startswith("127.") or host in {"localhost", "::1"}


def is_elsewhere(address: str) -> bool:
    """Whether what is called at an address may be on another machine; false for what is no address."""
    try:
        return not is_local(address)
    except ValueError:
        return False


def _size(value: object) -> object:
    """Turn ``32MiB``, ``32M`` or ``32 mb`` into bytes; one M is 1048576."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value!r} is no size: write bytes, or a size such as 32MiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _list(value: object) -> object:
    """Take one string for a list of one."""
    return [value] if isinstance(value, str) else value


def _source(value: object) -> str:
    """Check a source; unlike pydantic's text it may hold bytes that are not UTF-8, as names of files do."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no source: name a folder, a file, an archive, a glob, or -")
    return value


def _path(value: object) -> Path:
    """Check a path; as with a source, bytes that are not UTF-8 survive. ~ is home, also where no shell has seen it."""
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError(f"{value!r} is no path")
    try:
        return Path(value).expanduser()
    except RuntimeError:  # ~nobody
        return Path(value)


def _distinct(values: list[str]) -> list[str]:
    """Refuse a value that is there twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is given twice")
    return values


def metrics_place(address: str) -> tuple[str, int]:
    """Return host (empty: every address of this machine) and port of ``HOST:PORT``; port 0 is any free one.

    Raises ValueError, saying what to write.
    """
    match = _PLACE.fullmatch(address)
    if match is None:
        raise ValueError(f"{address!r} is no place to serve metrics: write HOST:PORT, such as 127.0.0.1:9550")
    if int(match[2]) > 65535:
        raise ValueError(f"{address!r} has a port above 65535")
    host = match[1].strip("[]")
    return "" if host == "*" else host, int(match[2])


def _place(address: str) -> str:
    """Check where metrics are to be served."""
    metrics_place(address)
    return address


def ports(value: str) -> str:
    """Check a range of ports such as 5600-5999."""
    first, dash, last = value.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= 65535):
        raise ValueError(f"{value!r} is no range of ports: write FIRST-LAST, such as 5600-5999")
    return value


def _name(value: str) -> str:
    """Check a name that goes into messages and logs."""
    if not 0 < len(value.encode()) <= 64 or not value.isprintable():
        raise ValueError(f"{value!r} is no name: write 1 to 64 printable characters")
    return value


def _module(value: str) -> str:
    """Check the dotted name of a Python module."""
    if value.endswith(".py") or not all(part.isidentifier() for part in value.split(".")):
        raise ValueError(f"{value!r} is no module: write its dotted name, such as my_filters, without .py")
    return value


def _absolute(value: object) -> Path:
    """Check a path, and make it absolute."""
    return Path(os.path.abspath(_path(value).expanduser()))  # noqa: PTH100  resolve() would follow links


def child_memory(procs: int) -> int:
    """Return how much memory each of ``procs`` children may have: three quarters of the machine's, shared out.

    At most 4 GiB, which is enough for the largest image that is decoded, and at least 1 GiB.
    """
    return max(1 << 30, min(4 << 30, _memory_of_machine() * 3 // 4 // max(1, procs)))


def _memory_of_machine() -> int:
    """Return the memory of this machine, or what its control group allows this process of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip().strip("/")
        folder = Path("/sys/fs/cgroup", group)
        for limit in (one / "memory.max" for one in (folder, *folder.parents)):
            if limit.is_file() and (text := limit.read_text().strip()) != "max":
                memory = min(memory, int(text))
    except (OSError, ValueError):
        return memory
    return memory


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def state_folder() -> Path:
    """Return where a service keeps what it must remember: the folder that systemd made for it, else the user's."""
    return _folder_of_service() or user_state_path("zgrid")


def data_folder() -> Path:
    """Return where a service keeps what it makes: the folder that systemd made for it, else the user's."""
    return _folder_of_service() or user_data_path("zgrid")


def _folder_of_service() -> Path | None:
    """Return the first folder of ``StateDirectory=``."""
    first = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None


def next_port(bind: str) -> int:
    """Return the port after the one of ``bind``; 0, any free one, where that has none."""
    match = _TCP.fullmatch(bind)
    return int(match[2]) + 1 if match and match[2] not in {"*", "0"} else 0


Bind = Annotated[str, AfterValidator(_bindable), Shown("ADDRESS")]
Place = Annotated[str, AfterValidator(_place)]
Call = Annotated[str, AfterValidator(connectable)]
Calls = Annotated[list[Call], BeforeValidator(_list), AfterValidator(_distinct), Field(min_length=1)]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_list), Field(min_length=1)]
_Sources = Annotated[list[Annotated[str, PlainValidator(_source)]], BeforeValidator(_list)]
Sources = Annotated[_Sources, Field(min_length=1), Shown("SOURCE", is_argument=True)]
SourcesOrNone = Annotated[_Sources, Shown("SOURCE", "none", is_argument=True)]
File = Annotated[Path, PlainValidator(_path)]
Modules = Annotated[list[Annotated[str, AfterValidator(_module)]], BeforeValidator(_list), Shown("MODULE", "none")]
Paths = Annotated[
    list[Annotated[Path, PlainValidator(_absolute)]],
    BeforeValidator(lambda value: [value] if isinstance(value, str | Path) else value),
]
Size = Annotated[int, BeforeValidator(_size), Field(ge=1)]
Millis = Annotated[int, Field(ge=1, le=86_400_000)]
Name = Annotated[str, AfterValidator(_name), Field(default_factory=socket.gethostname, validate_default=True)]
