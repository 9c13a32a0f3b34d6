"""When a file was changed, as jobs have it: nanoseconds in 64 bits, whatever the file system or the archive says."""

from math import isnan

_NS_MIN, _NS_MAX = -(1 << 63), (1 << 63) - 1


def bounded_ns(time_ns: float) -> int:
    """Return the nearest whole number of ns that fits into signed 64 bits: of all times after 2262, the last one.

    What is no number is no time: 0.
    """
    return 0 if isnan(time_ns) else round(min(max(time_ns, _NS_MIN), _NS_MAX))
