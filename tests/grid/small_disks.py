"""Disks for one test, in a mount namespace of its own: small ones that can be full, and folders that turn read-only."""

import errno
import os
import subprocess
from contextlib import suppress

import namespaces
import pytest

BALLAST = "ballast"
TRIES = 100


class Disks:
    """Mounts that only this thread and what it starts can see; ``stack`` takes the thread back where it was."""

    def __init__(self, stack):
        stack.callback(namespaces.enter, namespaces.MOUNTS, namespaces.here(namespaces.MOUNTS, stack))
        namespaces.make(namespaces.MOUNTS, stack)
        _mount("--make-rprivate", "/")

    def small(self, folder, size_bytes):
        """Put a disk of this size in the place of ``folder``, which is made; return the folder."""
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "zgrid-test", folder)
        return folder

    def fill(self, folder):
        """Leave no space on the disk of ``folder``."""
        with (folder / BALLAST).open("ab", buffering=0) as ballast:
            for size in (1 << 16, 1 << 12):
                with suppress(_FullError):
                    while True:
                        _write(ballast, bytes(size))

    def free(self, folder):
        """Give the space back."""
        (folder / BALLAST).unlink()


def protect(folder):
    """Make a folder read-only, for root too, to whom has the disks of this thread."""
    for _ in range(TRIES):
        _mount("--bind", folder, folder)
        words = ["mount", "-o", "remount,bind,ro", folder]
        if subprocess.run(words, check=False, capture_output=True).returncode == 0:
            return
        release(folder)  # somebody has just opened a file there to write
    pytest.skip("no folder can be made read-only here")


def release(folder):
    """Make it writable again."""
    subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


class _FullError(Exception):
    pass


def _write(file, data):
    try:
        if file.write(data) < len(data):
            raise _FullError
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _FullError from error


def _mount(*words):
    try:
        subprocess.run(["mount", *map(os.fspath, words)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
