"""How a process treats memory."""

import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource
from zgrid.roles.memory import keep_buffers
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    for _ in range(20):
        buffers = [libc.malloc(4 << 20) for _ in range(4)]
        for buffer in buffers:
            ctypes.memset(buffer, 1, 4 << 20)
        for buffer in buffers:
            libc.free(buffer)
keep_buffers()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the C library does as it likes")
def test_large_buffers_are_kept():
    """Buffers as large as a photograph are the same pages again, not new ones that the kernel clears each time."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 20 * 4096 / 10
