"""What a child process may do: look at images, and next to nothing else.

A decoder is a large program fed by strangers; somebody may find a way to make one do what they like. So a child gives
up, before it sees its first image, whatever filters do not need: privileges, sockets, other processes, files but those
that Python and its libraries are made of and those that its operator names, and more memory than its share. All of it
is done without any privilege, costs a millisecond at the start of a child and nothing for an image. What the kernel at
hand cannot do is told, once, and never keeps a worker from working.
"""

import argparse
import ctypes
import glob
import os
import resource
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from zgrid.kernel import PR_SET_NO_NEW_PRIVS, prctl, system_call
from zgrid.models import models_dir
from zgrid.roles import landlock, seccomp

FILE_BYTES_MAX = 1 << 30
"""The longest file that a child may write, where it may write at all."""
DESCRIPTORS_MAX = 256
CPU_AGAIN_S = 1.0
"""How often at most the limit of processor time is moved on."""

_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/fonts", "/etc/mime.types"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/sys/devices/system"),
    *("/sys/bus", "/sys/class", "/sys/fs/cgroup", "/dev/urandom", "/dev/random", "/dev/zero"),
)
"""What programs read by themselves: libraries, fonts, how many processors there are. Not the rest of /etc."""
_SYSTEM_TO_WRITE = ("/dev/null",)
_SYSTEM_FOR_NETWORK = (
    *("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services"),
    *("/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/run/systemd/resolve"),
)

_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2
"""What is left to a child of root: to read files whoever owns them; which files, says Landlock."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a child may do. ``memory_bytes_max``: of its own, None for no limit; ``cpu_ms``: for one image.

    ``read`` and ``write`` are paths, files or folders, beyond what libraries need.
    """

    memory_bytes_max: int | None = None
    cpu_ms: int | None = None
    network: bool = False
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the command line that gives these to a child."""
        words = [f"--read={path}" for path in self.read] + [f"--write={path}" for path in self.write]
        words += [f"--memory-bytes-max={self.memory_bytes_max}"] if self.memory_bytes_max else []
        words += [f"--cpu-ms={self.cpu_ms}"] if self.cpu_ms else []
        return [*words, "--network"] if self.network else words

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        """Teach a parser the command line."""
        parser.add_argument("--memory-bytes-max", type=int, help="limit of this process's own memory")
        parser.add_argument("--cpu-ms", type=int, help="limit of processor time between two images")
        parser.add_argument("--network", action="store_true", help="leave it the network")
        parser.add_argument("--read", action="append", default=[], help="leave it what is at or below this path")
        parser.add_argument("--write", action="append", default=[], help="the same, to be written too")

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Sandbox":
        """Return what the command line of a child says."""
        memory, cpu = options.memory_bytes_max, options.cpu_ms
        read = (*options.read, *options.allow)  # what is read by reference must be seen
        return cls(memory, cpu, options.network, read, tuple(options.write))

    def enter(self) -> list[str]:
        """Give up the rest, for good; return what the kernel would not take, in words. Only the first thread calls it.

        What is started afterwards gets no more.
        """
        self._limit()
        if self.write:
            os.environ["TMPDIR"] = self.write[0]
        lacks: list[str] = []
        for what, step in (
            ("new privileges", partial(prctl, PR_SET_NO_NEW_PRIVS, 1)),
            ("files", partial(self._hide_files, lacks)),
            ("capabilities", _drop_capabilities),
            (
                "system calls and network",
                partial(seccomp.deny, network=self.network, write=bool(self.write)),
            ),
        ):
            try:
                step()
            except OSError as error:
                lacks.append(f"{what}: {error.strerror}")
        return lacks

    def _limit(self) -> None:
        """Bound memory, files and descriptors."""
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_FSIZE, FILE_BYTES_MAX)
        _lower(resource.RLIMIT_NOFILE, DESCRIPTORS_MAX)
        if self.memory_bytes_max is not None:
            # What it has of its own to write to counts: not libraries, nor the memory that images come in, nor
            # addresses that are only reserved, of which a graphics card's library takes as many as there are.
            _lower(resource.RLIMIT_DATA, self.memory_bytes_max)

    def _hide_files(self, lacks: list[str]) -> None:
        """Hide files, and add to ``lacks`` what the kernel cannot forbid."""
        if len(os.listdir("/proc/self/task")) > 1:  # noqa: PTH208  they would keep what this thread gives up
            raise OSError(0, f"threads run already ({', '.join(one.name for one in threading.enumerate()[1:])})")
        read = [*_SYSTEM, *_python(), str(models_dir()), *glob.glob("/etc/ImageMagick-*/type*.xml"), *self.read]  # noqa: PTH207
        if self.network:
            read += _SYSTEM_FOR_NETWORK
        lacks += landlock.restrict(read, [*_SYSTEM_TO_WRITE, *self.write], network=self.network)


class CpuLimit:
    """Keeps a bound on the processor time of this process: so much from each image on, or from a sign of life.

    Before ``due_at``, in seconds of the clock that ``renew`` is told, to renew it changes nothing.
    """

    def __init__(self, cpu_ms: int | None) -> None:
        self._seconds = -(-cpu_ms // 1000) if cpu_ms else None
        self.due_at = float("inf" if self._seconds is None else "-inf")

    def renew(self, now: float) -> None:
        """Begin anew, at ``now``; more often than once a second changes nothing."""
        if self._seconds is not None and now >= self.due_at:
            self.due_at = now + CPU_AGAIN_S
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            used = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(used.ru_utime + used.ru_stime + CPU_AGAIN_S) + 1 + self._seconds
            if hard == resource.RLIM_INFINITY or limit < hard:
                resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _lower(what: int, most: int) -> None:
    """Set a limit, soft and hard, unless it is lower already."""
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _python() -> Sequence[str]:
    """Return where Python and the modules that it may import are."""
    places = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
    places.append(str(Path(__file__).resolve().parents[1]))
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):  # setuptools' way to find packages that are being worked on
            places += getattr(module, "MAPPING", {}).values()
    places += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return [place for place in places if place not in {"", "/"}]


def _drop_capabilities() -> None:
    """Keep, of root's capabilities, those to read files."""
    number = _CAPSET.get(os.uname().machine)
    if os.geteuid() != 0 or number is None:
        return
    kept = _CAP_DAC_OVERRIDE | _CAP_DAC_READ_SEARCH
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
    sets = ctypes.create_string_buffer(struct.pack("=6I", kept, kept, 0, 0, 0, 0), 24)
    system_call(number, header, sets)
