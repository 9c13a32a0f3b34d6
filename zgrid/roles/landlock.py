"""Which files a process may still see: Linux's Landlock, by its three system calls. See landlock(7).

It needs no privilege, holds for every thread and process that is started afterwards, and cannot be undone. What the
kernel at hand does not have yet is left out; a kernel without it says so by an error.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from enum import IntFlag

from zgrid.kernel import system_call

# The numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1


class Access(IntFlag):
    """What may be done with files (linux/landlock.h). Reading includes running, for libraries are mapped to be run."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.EXECUTE | Access.READ_FILE | Access.READ_DIR
WRITE = Access(0xFFFF ^ READ ^ Access.MAKE_CHAR ^ Access.MAKE_BLOCK)
_FILE_RIGHTS = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
"""Those that make sense for what is no folder; others are refused."""

_HANDLED = {1: Access(0x1FFF), 2: Access(0x3FFF), 3: Access(0x7FFF), 4: Access(0x7FFF), 5: Access(0xFFFF)}
"""Version of the interface -> what it can deny; later ones deny no more of files."""
_NET_BIND_TCP, _NET_CONNECT_TCP = 1, 2
_NET_SINCE = 4
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2
_SCOPE_SINCE = 6


_TRUNCATE_SINCE = 3


def restrict(read: Iterable[str], write: Iterable[str], *, network: bool) -> list[str]:
    """Take every file from this thread, and what it starts, but those at or below the paths ``read`` and ``write``.

    What is not there is passed over. Without ``network`` also TCP and other processes' abstract sockets are taken,
    where the kernel can, and signals to processes outside in any case. Return what this one cannot take, in words.
    Raises OSError where the kernel has no Landlock.
    """
    version = system_call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    handled = _HANDLED[min(version, max(_HANDLED))]
    net = 0 if network or version < _NET_SINCE else _NET_BIND_TCP | _NET_CONNECT_TCP
    scoped = 0 if version < _SCOPE_SINCE else _SCOPE_SIGNAL | (0 if network else _SCOPE_ABSTRACT_UNIX_SOCKET)
    length = 24 if version >= _SCOPE_SINCE else 16 if version >= _NET_SINCE else 8
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", handled, net, scoped), 24)
    ruleset = system_call(_CREATE_RULESET, attributes, length, 0)
    try:
        for path in dict.fromkeys(read):
            _allow(ruleset, path, READ & handled)
        for path in dict.fromkeys(write):
            _allow(ruleset, path, (READ | WRITE) & handled)
        system_call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    lacks = []
    if version < _TRUNCATE_SINCE:
        lacks.append("cutting files short: Linux 6.2 and newer can forbid it")
    if version < _SCOPE_SINCE:
        lacks.append("signals to other processes: Linux 6.12 and newer can forbid them")
    return lacks


def _allow(ruleset: int, path: str, access: Access) -> None:
    """Add a rule for what is at or below ``path``."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not ours to see: there is nothing to allow
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            access &= _FILE_RIGHTS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, place), 12)
        system_call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(place)
