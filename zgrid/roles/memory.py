"""How a role's process treats memory: many small objects without cycles, and large buffers that come and go."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT_BYTES_MAX = 64 << 20


def tune_memory() -> None:
    """Set Python's cycle collector and the C library's allocator for a role's process.

    Jobs, rows and messages hold no cycles, and are freed by counting; by default the collector walks over all of them
    after every 700 that are new, which took a sixth of the ventilator's and the sink's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(70_000, 20, 100)
    keep_buffers()


def keep_buffers() -> None:
    """Let the C library keep what is freed, up to KEPT_BYTES_MAX, for whoever wants a large buffer next.

    By default an image's buffer is given back to the kernel when it is freed, which clears every page of the next one
    again. A child that looks at photographs of one megapixel spent a fifth of its time so.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc; others do well without
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES_MAX)
