"""Steps of a chain as text: ``faces``, ``highlight:colour=red,width_px=4``."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from zgrid.errors import SettingsError
from zgrid.filters import registry
from zgrid.filters.option import Value

STEPS_MAX = 32
"""Longest chain: far more than anybody needs, and a bound for what comes from a network."""
STEP_CHARS_MAX = 1000
"""Longest text of one step."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Step:
    """One filter of a chain and the options given to it; str() is its canonical text."""

    name: str
    options: dict[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        options = ",".join(f"{key}={_text(value)}" for key, value in sorted(self.options.items()))
        return f"{self.name}:{options}" if options else self.name


def parse_steps(texts: Iterable[str], *, checked: bool = True) -> tuple[Step, ...]:
    """Return the steps that ``texts`` describe, one each: a filter's name, then its options after a colon.

    A filter that has options is loaded to check and type them. With ``checked=False`` a filter that is not installed
    here, or cannot be loaded, is legal, and its options stay text: only workers need to have it. Raises SettingsError
    for an empty chain, an unknown filter or option, and a bad value.
    """
    steps = tuple(_step(text, checked) for text in texts)
    if not steps:
        raise SettingsError("a chain needs at least one filter, for example: faces")
    if len(steps) > STEPS_MAX:
        raise SettingsError(f"a chain may have {STEPS_MAX} filters, not {len(steps)}")
    return steps


def _step(text: str, checked: bool) -> Step:
    name, colon, rest = text.partition(":")
    if not _NAME.fullmatch(name) or len(text) > STEP_CHARS_MAX or (colon and not rest):
        raise SettingsError(f"{text[:80]!r} is no filter; write it as NAME or NAME:OPTION=VALUE,OPTION=VALUE")
    options: dict[str, Value] = {}
    for part in rest.split(",") if rest else ():
        key, equals, value = part.partition("=")
        if not _KEY.fullmatch(key) or not equals or not value or not value.isprintable() or " " in value:
            raise SettingsError(f"{part[:80]!r} in {text[:80]!r} is no option; write it as OPTION=VALUE without spaces")
        if key in options:
            raise SettingsError(f"option {key} is given twice in {text[:80]!r}")
        options[key] = value
    if checked and name not in registry.names():
        raise SettingsError(f"there is no filter {name!r} here; the filters are: {', '.join(registry.names())}")
    if options:
        known = registry.find(name)
        if known:
            return Step(name, known.typed(options))
        if checked:
            raise SettingsError(registry.lacks(name) or f"filter {name} cannot be loaded")
    return Step(name, options)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
