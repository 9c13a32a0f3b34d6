"""ImageMagick, kept in bounds: by a policy of our own, in every process that loads our filters.

ImageMagick reads some two hundred formats, several of which are programs: they draw, read other files, fetch from the
network, or have another program started. It also guesses what a file is. Ours only ever gives it colours and sizes and
takes pixels; the policy holds for what filters of others do with it in the same process.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

POLICY_FOLDER = Path(__file__).parent / "magick_policy"

VARIABLE = "MAGICK_CONFIGURE_PATH"
"""Folders that ImageMagick looks into first. Behind them come those of the system: a policy there that allows more than
ours would count, which is why a child cannot read it (zgrid.roles.sandbox)."""


def use_own_policy() -> None:
    """Have ImageMagick read our policy when it starts, which it does when Wand is imported."""
    os.environ[VARIABLE] = str(POLICY_FOLDER)


LIBRARY_VARIABLE = "WAND_MAGICK_LIBRARY_SUFFIX"
"""The end of the library's name that Wand tries first."""


def name_library() -> None:
    """Tell Wand which library is installed, where there is one and nobody has said it.

    By itself it tries two dozen names, and for each that is not there Python starts a compiler and a linker to look
    for it: half a second of two processes for every child that starts.
    """
    if LIBRARY_VARIABLE in os.environ or sys.platform != "linux":
        return
    try:
        listed = subprocess.run(["/sbin/ldconfig", "-p"], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return  # not this C library's way; Wand finds it by its own
    suffixes = set(re.findall(rb"\tlibMagickWand(\S*?)\.so", listed.stdout))
    if len(suffixes) == 1:
        os.environ[LIBRARY_VARIABLE] = os.fsdecode(suffixes.pop())
