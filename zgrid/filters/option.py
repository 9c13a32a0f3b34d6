"""Options of a filter: what they are, read from its signature, and how their text becomes a value."""

import inspect
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zgrid.errors import SettingsError

Value = bool | int | float | str
"""What an option may be."""


@dataclass(frozen=True, slots=True)
class Between:
    """A check for a number: at least ``low`` and at most ``high``."""

    low: float
    high: float

    def __call__(self, value: Value) -> None:
        """Raise ValueError when ``value`` is outside."""
        if not self.low <= float(value) <= self.high:
            raise ValueError(f"must be between {self.low:g} and {self.high:g}")


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its type, its default, the values it is limited to (empty: any), and its own checks."""

    name: str
    kind: type
    default: Any
    choices: tuple[Value, ...] = ()
    checks: tuple[Callable[[Value], None], ...] = ()

    def value(self, given: Value) -> Value:
        """Return ``given`` (text, or a value already) as this option's type. Raises SettingsError when it cannot be."""
        try:
            value = _converted(given, self.kind)
            if self.choices and value not in self.choices:
                raise ValueError(f"must be one of {', '.join(map(str, self.choices))}")  # noqa: TRY301  one message below
            for check in self.checks:
                check(value)
        except ValueError as error:
            raise SettingsError(f"option {self.name} {error}, not {str(given)!r}") from error
        return value


_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _converted(given: Value, kind: type) -> Value:
    if isinstance(given, str) and kind is not str:
        text = given.lower()
        try:
            return _WORDS[text] if kind is bool else int(text) if kind is int else _finite(text)
        except (KeyError, ValueError):
            wanted = {bool: "true or false", int: "a whole number"}.get(kind, "a number")
            raise ValueError(f"must be {wanted}") from None
    if kind is float and type(given) is int:
        return float(given)
    if type(given) is not kind:
        raise ValueError(f"must be of type {kind.__name__}")
    return given


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def options_of(function: Callable[..., object]) -> dict[str, Option]:
    """Return the options of a filter function: its keyword-only parameters.

    Each needs a default and an annotation: bool, int, float or str, a Literal of these, either of them ``| None``,
    and for checks ``Annotated[int, Between(1, 100)]``, where a check is called with the value and raises ValueError
    whose text goes on after the option's name. Raises TypeError when the signature is another.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise TypeError(f"filter function {function.__qualname__} must take the image as its first argument")
    options = {}
    for parameter in parameters[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY or parameter.default is inspect.Parameter.empty:
            raise TypeError(f"{function.__qualname__}: {parameter.name} must be keyword-only and have a default")
        options[parameter.name] = _option(parameter.name, parameter.default, hints.get(parameter.name))
    return options


def _option(name: str, default: object, hint: Any) -> Option:
    checks: tuple[Callable[[Value], None], ...] = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *extras = typing.get_args(hint)
        checks = tuple(extra for extra in extras if callable(extra))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        hint = parts[0] if len(parts) == 1 else None
    if typing.get_origin(hint) is typing.Literal:
        choices = typing.get_args(hint)
        return Option(name, type(choices[0]), default, choices, checks)
    if hint not in (bool, int, float, str):
        raise TypeError(f"option {name} must be annotated as bool, int, float, str or a Literal")
    return Option(name, hint, default, (), checks)
