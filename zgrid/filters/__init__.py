"""What happens to an image: filters, found by the entry point group ``zgrid.filters``, and chains of them.

A filter is one function in one file::

    from zgrid.filters import Image, Keep, Outcome, filter

    @filter("size", "1")
    def size(image: Image, *, longest_px: int = 640) -> Outcome:
        \"\"\"Note how large the image is when reduced to longest_px.\"\"\"
        pixels, scale = image.pixels(longest_px)
        return Keep({"size": [pixels.shape[1], pixels.shape[0]], "scale": scale})

and one line in the pyproject.toml of its package::

    [project.entry-points."zgrid.filters"]
    size = "my_package.size:size"

Keyword-only parameters are its options (``size:longest_px=320``). It gets upright pixels and the notes of the filters
before it; it returns Keep, Discard or Fail, or raises FilterError. The same image must give the same outcome.

In a worker it runs in a child process that has no network, sees Python, its libraries and the models alone, and writes
nothing; who needs more says so at the worker, with ``--child-network``, ``--child-read`` and ``--child-write``.

The names below are loaded when they are first used, so that a process that only reads chains as text (the ventilator)
does not load OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zgrid.filters.chain import Chain
    from zgrid.filters.detector import detector_advice, detector_engine, detector_name, is_detector_weak
    from zgrid.filters.header import Header
    from zgrid.filters.image import Image
    from zgrid.filters.option import Between
    from zgrid.filters.outcome import Discard, Fail, Keep, Outcome
    from zgrid.filters.progress import touch
    from zgrid.filters.registry import available, filter, missing  # noqa: A004  the decorator is called so
    from zgrid.filters.step import Step, parse_steps

__all__ = [
    "Between",
    "Chain",
    "Discard",
    "Fail",
    "Header",
    "Image",
    "Keep",
    "Outcome",
    "Step",
    "available",
    "detector_advice",
    "detector_engine",
    "detector_name",
    "filter",
    "is_detector_weak",
    "missing",
    "parse_steps",
    "touch",
]

_MODULES = {
    "chain": ("Chain",),
    "detector": ("detector_advice", "detector_engine", "detector_name", "is_detector_weak"),
    "header": ("Header",),
    "image": ("Image",),
    "option": ("Between",),
    "outcome": ("Discard", "Fail", "Keep", "Outcome"),
    "progress": ("touch",),
    "registry": ("available", "filter", "missing"),
    "step": ("Step", "parse_steps"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load the module in which a public name lives."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
