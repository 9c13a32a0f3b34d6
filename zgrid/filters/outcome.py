"""What a filter says about one image: keep, discard, or fail."""

from dataclasses import dataclass, field
from typing import Any

from zgrid.errors import FilterError

NOTES_DEPTH_MAX = 8
"""How deep notes may be nested; the faces' notes need four levels."""


@dataclass(frozen=True, slots=True)
class Keep:
    """The image has a row at the sink.

    ``notes`` is plain data (see check_notes); ``picture`` is a new image file made from the image, None leaves it
    without one; ``media`` is that file's type, "image/jpeg".
    """

    notes: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = None
    media: str | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """The image is good, but not wanted. Nothing is stored but the count and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The image could not be processed. ``transient`` is true where another attempt may help."""

    reason: str
    transient: bool = False


Outcome = Keep | Discard | Fail


def check_notes(notes: object) -> None:
    """Raise FilterError unless ``notes`` is a dict of plain data, which any msgpack reader gives back as it was.

    Plain data are None, bool, int of 64 bits, float, str, bytes, and lists and dicts (with text for keys) of these,
    to a depth of NOTES_DEPTH_MAX. Exact types: a numpy number would be refused by the encoder much later.
    """
    if type(notes) is not dict:
        raise FilterError(f"notes must be a dict, not {type(notes).__name__}")
    _check(notes, 1)


_PLAIN = frozenset((type(None), bool, float, str, bytes))


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind in _PLAIN:
        return
    if isinstance(value, int) and kind is int:
        if not -(2**63) <= value < 2**64:
            raise FilterError(f"notes may hold whole numbers of 64 bits, not {value:.3g}")
        return
    if depth > NOTES_DEPTH_MAX:
        raise FilterError(f"notes may be nested {NOTES_DEPTH_MAX} deep, not deeper")
    if isinstance(value, list) and kind is list:
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise FilterError(f"notes may have text for keys, not {type(key).__name__}")
            _check(item, depth + 1)
    else:
        raise FilterError(f"notes may hold plain data only, not {kind.__name__}; convert it first")
