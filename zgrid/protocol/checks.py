"""Checks of single header fields. Each maker returns a function that says whether a decoded value is acceptable.

Columns are checked with C-speed built-ins (``set(map(type, ...))``, ``sorted``), because a header holds up to 1,024
jobs and is checked for every message. ``type`` and not ``isinstance``: a bool is no int here. To sort a column takes as
long as ``min`` and ``max`` where it is in no order, and a fifth of that where it is or all are the same, as most are.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any

from zgrid.protocol.limits import BATCH_JOBS_MAX, INT_MAX, NOTES_DEPTH_MAX, TEXT_CHARS_MAX

Check = Callable[[Any], bool]


def integer(low: int = 0, high: int = INT_MAX) -> Check:
    """Accept a whole number from ``low`` to ``high``."""
    return lambda value: type(value) is int and low <= value <= high


def boolean(value: Any) -> bool:
    """Accept true or false."""
    return type(value) is bool


def text(chars_max: int = TEXT_CHARS_MAX) -> Check:
    """Accept a string of at most ``chars_max`` characters."""
    return lambda value: type(value) is str and len(value) <= chars_max


def blob(bytes_min: int, bytes_max: int) -> Check:
    """Accept bytes of a length between the two."""
    return lambda value: type(value) is bytes and bytes_min <= len(value) <= bytes_max


def integers(low: int = 0, high: int = INT_MAX) -> Check:
    """Accept a column of whole numbers from ``low`` to ``high``."""

    def check(value: Any) -> bool:
        if type(value) is not list or len(value) > BATCH_JOBS_MAX:
            return False
        return not value or (set(map(type, value)) == {int} and _between(sorted(value), low, high))

    return check


def numbers(low: float = 0.0, high: float = 1e15) -> Check:
    """Accept a column of numbers, whole or not, from ``low`` to ``high``; NaN is none."""

    def check(value: Any) -> bool:
        if type(value) is not list or len(value) > BATCH_JOBS_MAX:
            return False
        if not value:
            return True
        if not set(map(type, value)) <= {int, float}:
            return False
        # NaN compares with nothing and so could hide in any order; a sum it always spoils. Where none is below zero,
        # none is above the sum. To sort times, which come in any order, takes six times as long as to find the least.
        total = sum(value)
        return isfinite(total) and low <= min(value) and ((low >= 0 and total <= high) or max(value) <= high)

    return check


def _between(in_order: list[Any], low: float, high: float) -> bool:
    return bool(low <= in_order[0] and in_order[-1] <= high)


def texts(chars_max: int = TEXT_CHARS_MAX, items_max: int = BATCH_JOBS_MAX) -> Check:
    """Accept a column of strings of at most ``chars_max`` characters each."""

    def check(value: Any) -> bool:
        if type(value) is not list or len(value) > items_max:
            return False
        return not value or (set(map(type, value)) == {str} and max(map(len, value)) <= chars_max)

    return check


def optional(kind: type, size_max: int) -> Check:
    """Accept a column of ``kind`` (int, str or bytes) or None. ``size_max``: the largest int, the length of others."""

    def check(value: Any) -> bool:
        if type(value) is not list or len(value) > BATCH_JOBS_MAX:
            return False
        nothing = value.count(None)
        if nothing == len(value):
            return True  # the usual column of a job that has nothing to tell
        there = [item for item in value if item is not None] if nothing else value
        if set(map(type, there)) != {kind}:
            return False
        if kind is int:
            return bool(min(there) >= 0 and max(there) <= size_max)
        return max(map(len, there)) <= size_max

    return check


def plain(value: Any, depth_max: int = NOTES_DEPTH_MAX) -> bool:
    """Accept plain data (None, bool, number, text, bytes, lists and text-keyed maps) nested at most ``depth_max`` deep.

    Numbers are those that JSON and SQL can keep: no NaN, no infinity, whole ones of 64 bits with a sign.
    """
    kind = type(value)
    if kind is list:
        return depth_max > 0 and all(plain(item, depth_max - 1) for item in value)
    if kind is dict:
        return depth_max > 0 and all(type(key) is str and plain(item, depth_max - 1) for key, item in value.items())
    if kind is int:
        return bool(-INT_MAX - 1 <= value <= INT_MAX)
    if kind is float:
        return isfinite(value)
    return value is None or kind in (bool, str, bytes)


def plains(value: Any) -> bool:
    """Accept a column of maps of plain data, or None."""
    if type(value) is not list or len(value) > BATCH_JOBS_MAX:
        return False
    if value.count(None) == len(value):
        return True
    return all(type(item) is dict and plain(item) for item in value if item is not None)


def mapping(of: Check, items_max: int, key_chars_max: int = 256) -> Check:
    """Accept a map from text to values that ``of`` accepts."""

    def check(value: Any) -> bool:
        if type(value) is not dict or len(value) > items_max:
            return False
        return all(type(key) is str and len(key) <= key_chars_max and of(item) for key, item in value.items())

    return check
