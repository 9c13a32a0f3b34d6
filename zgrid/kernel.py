"""System calls for which Python has no function."""

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 1, 15, 38  # linux/prctl.h


def prctl(option: int, value: int | bytes) -> None:
    """Change one thing of this process. Raises OSError."""
    _checked(_LIBC.prctl(option, value if isinstance(value, bytes) else ctypes.c_ulong(value), 0, 0, 0))


def system_call(number: int, *arguments: object) -> int:
    """Make a system call (whole numbers, buffers or None as arguments) and return its result. Raises OSError."""
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *words))


def _checked(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
