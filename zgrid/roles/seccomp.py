"""Which system calls a process may still make: a filter that the kernel runs before each of them. See seccomp(2).

It needs no privilege and holds for every thread, and for what is started afterwards. A call that is denied fails with
EPERM, as if the user had no right to it, so that libraries do without or say what they miss. What is denied is what no
filter of images needs and an intruder does: making sockets, looking into other processes, changing what is mounted,
changing of files what Landlock does not cover, and large doors into the kernel that were left open by mistake more than
once.
"""

import ctypes
import errno
import platform
import struct
from typing import NamedTuple

from zgrid.kernel import system_call


class _Machine(NamedTuple):
    """What differs between architectures: the kernel's number for it, and those of the system calls."""

    audit: int
    seccomp: int
    socket: int
    socketpair: int
    clone: int
    prlimit: int
    denied: tuple[int, ...]
    changing: tuple[int, ...]


_DENIED_EVERYWHERE = (
    *(425, 426, 427),  # io_uring_setup, _enter, _register: system calls that this filter would not see
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr
    438,  # pidfd_getfd
)
# In this order: ptrace, process_vm_readv, process_vm_writev, mount, umount2, pivot_root, chroot, reboot, kexec_load,
# kexec_file_load, init_module, finit_module, delete_module, bpf, perf_event_open, userfaultfd, keyctl, add_key,
# request_key, unshare, setns, open_by_handle_at; swapon, swapoff, setpgid, setsid: what a child started is killed with
# its group.
_X86_64 = (101, 310, 311, 165, 166, 155, 161, 169, 246, 320, 175, 313, 176, 321, 298, 323, 250, 248, 249, 272, 308, 304)
_AARCH64 = (117, 270, 271, 40, 39, 41, 51, 142, 104, 294, 105, 273, 106, 280, 241, 282, 219, 217, 218, 97, 268, 265)

# What changes a file that is not open to be written, for which Landlock has no right: truncate (before its version 3),
# chmod, fchmod, fchmodat, chown, fchown, lchown, fchownat, utime, utimes, futimesat, utimensat, setxattr, lsetxattr,
# fsetxattr, removexattr, lremovexattr, fremovexattr; aarch64 has only the newer ones of them.
_CHANGING_X86_64 = (76, 90, 91, 268, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199)
_CHANGING_AARCH64 = (45, 52, 53, 55, 54, 88, 5, 6, 7, 14, 15, 16)
_CHANGING_EVERYWHERE = (452, 463, 466)  # fchmodat2, setxattrat, removexattrat

_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, 41, 53, 56, 302, (*_X86_64, 167, 168, 109, 112), _CHANGING_X86_64),
    "aarch64": _Machine(0xC00000B7, 277, 198, 199, 220, 261, (*_AARCH64, 224, 225, 154, 157), _CHANGING_AARCH64),
}

_CLONE3 = 435
_NAMESPACES = 0x7E020000
"""The flags of clone(2) that make namespaces: in one of their own even a guest is master of mounts and networks."""
_X32 = 0x40000000
"""From here on, x86-64 has the same calls a second time."""

_SOCK_STREAM = 1
"""The one kind of socket pair that can reach nothing else: one of datagrams can send to any path."""

_SET_MODE_FILTER = 1
_TSYNC, _SPEC_ALLOW = 1, 4
"""For all threads; and without the slowing down of every branch, which older kernels make of any filter."""

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06  # linux/bpf_common.h
_NUMBER_AT, _AUDIT_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


def deny(*, network: bool, write: bool) -> None:
    """Give up the system calls that no filter of images needs; without ``network`` also the making of sockets.

    Without ``write`` also those that change a file's mode, owner, times, attributes or length by its name.

    The process must have given up new privileges before. Raises OSError where the kernel will not, or where we do not
    know its architecture.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter of system calls is known for {platform.machine()}")
    program = ctypes.create_string_buffer(_program(machine, network=network, write=write))
    described = ctypes.create_string_buffer(struct.pack("@HP", (len(program) - 1) // 8, ctypes.addressof(program)))
    if system_call(machine.seccomp, _SET_MODE_FILTER, _TSYNC | _SPEC_ALLOW, described):
        raise OSError(errno.EBUSY, "another thread has a filter of its own")


def _program(machine: _Machine, *, network: bool, write: bool) -> bytes:
    """Return the filter in the kernel's own small language: eight bytes each of code, two jumps, and a number."""
    denied = [*machine.denied, *_DENIED_EVERYWHERE]
    denied += [] if network else [machine.socket]
    denied += [] if write else [*machine.changing, *_CHANGING_EVERYWHERE]
    steps = [
        (_LOAD, 0, 0, _AUDIT_AT),
        (_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((_IF_EQUAL, len(denied) - at, 0, number) for at, number in enumerate(denied)),  # a jump counts from behind it
        (_IF_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        *_only(machine.clone, 0, _NAMESPACES, 0),
        *_only(machine.prlimit, 0, 0xFFFFFFFF, 0),  # of this process, which is called 0 there
        *([] if network else _only(machine.socketpair, 1, 0xF, _SOCK_STREAM)),
        (_IF_EQUAL, 0, 1, _CLONE3),  # it hides its flags from us: libraries that are told it is not there use clone
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _only(number: int, argument: int, mask: int, value: int) -> list[tuple[int, int, int, int]]:
    """Return the steps that allow a call only where the lower half of an argument has ``value`` under ``mask``."""
    return [
        (_IF_EQUAL, 0, 5, number),
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument),
        (_AND, 0, 0, mask),
        (_IF_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
    ]
