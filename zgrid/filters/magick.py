"""ImageMagick, kept in bounds: by a policy of our own, in every process that loads our filters.

ImageMagick reads some two hundred formats, several of which are programs: they draw, read other files, fetch from the
network, or have another program started. It also guesses what a file is. Ours only ever gives it colours and sizes and
takes pixels; the policy holds for what filters of others do with it in the same process.
"""

import os
from pathlib import Path

POLICY_FOLDER = Path(__file__).parent / "magick_policy"

VARIABLE = "MAGICK_CONFIGURE_PATH"
"""Folders that ImageMagick looks into first. Behind them come those of the system: a policy there that allows more than
ours would count, which is why a child cannot read it (zgrid.roles.sandbox)."""


def use_own_policy() -> None:
    """Have ImageMagick read our policy when it starts, which it does when Wand is imported."""
    os.environ[VARIABLE] = str(POLICY_FOLDER)
