"""Memory that a worker's agent shares with one child: the images it is to look at, and a page that says where it is.

The agent copies an image in once, and the child reads it in place: nothing goes through a pipe. The first page holds
a few counters. The child writes them around every job, so that the agent knows which job was under way when the child
died or stopped moving, without a message from it. Both are one memfd, which has no name and dies with its last user.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from contextlib import suppress

Data = bytes | bytearray | memoryview
"""An image's bytes; a view is one of bytes, too."""

PAGE_BYTES = mmap.PAGESIZE
"""The counters' page comes first; images follow it."""

BEGUN, ENDED, TOUCHES, PROGRESS, STOP = range(5)
"""Words of the counters' page, 64 bits each (one store writes one, so no reader sees half of it).

BEGUN and ENDED count the jobs of this child's life; it runs one while they differ by one. TOUCHES counts calls of
touch(). PROGRESS is 0 for unknown, else 1 + millionths. STOP is the agent's: set, the child ends after this job.
"""

PROGRESS_SCALE = 1_000_000

KEEP_BYTES = 16 << 20
"""Memory that an idle arena keeps: enough for a chunk of photographs; a rare huge image gives its pages back."""

_BYTES_MIN = 1 << 20
_ALIGNMENT = 64

Region = tuple[int, int]
"""Where one chunk's images lie: first byte, and the byte after the last."""


class Arena:
    """The agent's end. Chunks are placed first-fit and released whole; the arena grows when there is no room."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("zgrid-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.size_bytes = _BYTES_MIN
        os.ftruncate(self.fd, self.size_bytes)
        # A child that a hostile image took over could cut the file short, and the agent's next write would be a SIGBUS.
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self._map = mmap.mmap(self.fd, self.size_bytes)
        self._page = mmap.mmap(self.fd, PAGE_BYTES)
        self.words = memoryview(self._page).cast("Q")
        self._regions: list[Region] = []
        self._reached = PAGE_BYTES

    def place(self, images: Sequence[Data]) -> tuple[Region, list[int]]:
        """Copy ``images`` in; return their region and each one's offset."""
        needed = sum(_aligned(len(image)) for image in images)
        start = self._room(max(needed, _ALIGNMENT))
        region = (start, start + max(needed, _ALIGNMENT))
        self._regions.append(region)
        self._regions.sort()
        self._reached = max(self._reached, region[1])
        offsets = []
        for image in images:
            offsets.append(start)
            self._map[start : start + len(image)] = image
            start += _aligned(len(image))
        return region, offsets

    def release(self, region: Region) -> None:
        """Make room: the chunk that was placed in ``region`` is done."""
        self._regions.remove(region)
        if not self._regions and self._reached > KEEP_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEEP_BYTES, self.size_bytes - KEEP_BYTES)
            self._reached = KEEP_BYTES

    def _room(self, needed: int) -> int:
        """Return where ``needed`` bytes fit, low addresses first (their pages are there already); grow if nowhere."""
        start = PAGE_BYTES
        for low, high in self._regions:
            if low - start >= needed:
                return start
            start = high
        if start + needed > self.size_bytes:
            self._grow(start + needed)
        return start

    def _grow(self, needed: int) -> None:
        size = 1 << (needed - 1).bit_length()
        with suppress(PermissionError):  # a child that was taken over made it longer, and shorter it cannot become
            os.ftruncate(self.fd, size)
        larger = mmap.mmap(self.fd, size)
        self._map.close()
        self._map, self.size_bytes = larger, size

    def close(self) -> None:
        """Unmap everything; the memory goes when the child is gone too."""
        self.words.release()
        self._page.close()
        self._map.close()
        os.close(self.fd)


class Window:
    """The child's end: counters that it writes, and images that neither it nor its filters can write."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.words = memoryview(mmap.mmap(fd, PAGE_BYTES)).cast("Q")
        self._size_bytes = 0
        self._all = memoryview(b"")

    def reach(self, size_bytes: int) -> None:
        """Map the arena anew if it has grown beyond what is mapped; the old mapping goes with its last view."""
        if size_bytes > self._size_bytes:
            self._all = memoryview(mmap.mmap(self._fd, size_bytes, prot=mmap.PROT_READ))
            self._size_bytes = size_bytes

    def view(self, offset: int, size_bytes: int) -> memoryview:
        """Return the bytes of one image, in place."""
        return self._all[offset : offset + size_bytes]


def _aligned(size: int) -> int:
    return (size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
