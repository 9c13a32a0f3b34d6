"""What scripts/fuzz attacks: each target's name, module and the files whose coverage counts.

A target's module has ``attack(data)``, which raises when anything is not as it should be, ``seeds()``, ``mutate(data,
rng)``, and the limits BYTES_MAX (of an input) and MEMORY_MIB_MAX (by which one input may raise the most that was used).
"""

from importlib import import_module
from types import ModuleType

FILES: dict[str, tuple[str, ...]] = {
    "wire": ("zgrid/protocol/wire.py", "zgrid/protocol/messages.py", "zgrid/protocol/checks.py"),
    "ventilator": (
        "zgrid/protocol/ventilator.py", "zgrid/protocol/delivery.py", "zgrid/protocol/dispatch.py",
        "zgrid/protocol/lane.py", "zgrid/protocol/window.py",
    ),
    "duty": ("zgrid/protocol/duty.py", "zgrid/protocol/assignment.py"),
    "intake": ("zgrid/protocol/intake.py",),
    "link": ("zgrid/roles/link.py", "zgrid/roles/report.py"),
    "header": ("zgrid/filters/header.py", "zgrid/filters/frames.py"),
    "jpeg": ("zgrid/filters/jpeg_blocks.py", "zgrid/filters/turbojpeg.py"),
    "orientation": ("zgrid/filters/orientation.py",),
    "onnx": ("zgrid/filters/onnx_file.py",),
    "archive": ("zgrid/sources/archive.py", "zgrid/sources/content.py"),
    "settings": ("zgrid/settings/load.py", "zgrid/settings/values.py", "zgrid/settings/tables.py"),
    "keys": ("zgrid/transport/keyring.py",),
}  # fmt: skip

PURE = tuple(FILES)
"""Targets that start no process."""
SOCKETS = "sockets"
NAMES = (*PURE, SOCKETS)


def load(name: str) -> ModuleType:
    """Return a target's module."""
    return import_module(f"fuzz_{name}")
