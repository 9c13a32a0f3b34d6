"""Durations and moments as people type them: 500ms, 30s, 10m, 2h, 30d; 14:00, 2025-11-24, 2025-11-24T14:00:30Z."""

import re
from datetime import datetime, timedelta

from zgrid.errors import SettingsError

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|[smhdw])")
_CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?")


def duration_ms(text: str, option: str) -> float:
    """Return a duration in ms. Raises SettingsError, naming ``option``, for what is none."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"{option}: {text!r} is no duration: write 500ms, 30s, 10m, 2h or 30d")
    return float(match[1]) * _UNITS_MS[match[2]]


def moment(text: str, option: str, now: datetime) -> datetime:
    """Return when it was: so long before ``now`` (which has a time zone), or the time that is named.

    That is in the zone of this machine where it names none, and 14:00 is the last one that there was. Raises
    SettingsError, naming ``option``, for what is neither.
    """
    try:
        if _DURATION.fullmatch(text.strip()):
            return now - timedelta(milliseconds=duration_ms(text, option))
        clock = _CLOCK.fullmatch(text.strip())
        if clock is not None:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            today = now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0)
            return today if today <= now else today - timedelta(days=1)
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{option}: {text!r} is no time: write 10m, 2h or 3d for so long ago, or 14:00, or 2025-11-24T14:00"
        ) from None
