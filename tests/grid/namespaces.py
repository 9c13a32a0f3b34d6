"""Linux namespaces for one test: entered by the thread that runs it, and gone with the last process in them.

So nothing has a name that another test could meet, and nothing is left to be removed, not even by a test that was
killed.
"""

import ctypes
import os

import pytest

NET, MOUNTS = ("net", 0x40000000), ("mnt", 0x00020000)
"""A kind of namespace: its file in /proc, and its flag in linux/sched.h."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def make(kind, stack):
    """Go into a namespace of our own, which only root may; return its descriptor. ``stack`` closes that."""
    if _LIBC.unshare(kind[1]):
        pytest.skip(f"no namespaces of one's own here ({os.strerror(ctypes.get_errno())}): run as root")
    return here(kind, stack)


def here(kind, stack):
    """Return a descriptor of the namespace that this thread is in."""
    descriptor = os.open(f"/proc/thread-self/ns/{kind[0]}", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


def enter(kind, descriptor):
    """Go into a namespace; the current folder stays."""
    folder = os.getcwd()
    if _LIBC.setns(descriptor, kind[1]):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.chdir(folder)
