"""Which filters there are: found by their entry points in the group ``zgrid.filters``, loaded when asked for.

A filter's module may be heavy (OpenCV, ImageMagick) or broken; so names are known without loading anything, and what
goes wrong while one is loaded is a sentence in missing(), never an error of the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from zgrid.errors import SettingsError
from zgrid.filters.option import Option, Value, options_of
from zgrid.filters.outcome import Outcome

GROUP = "zgrid.filters"
"""The entry point group that other packages add filters to."""

Function = TypeVar("Function", bound=Callable[..., Outcome])


@dataclass(frozen=True, slots=True)
class Filter:
    """One registered filter. ``needs`` says what it lacks on this machine, None that it can run."""

    name: str
    version: str
    run: Callable[..., Outcome]
    needs: Callable[[], str | None] | None
    options: dict[str, Option] = field(default_factory=dict)

    def typed(self, given: dict[str, Any]) -> dict[str, Value]:
        """Return the given options (texts or values) with their types. Raises SettingsError, naming the option."""
        for name in given:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise SettingsError(f"filter {self.name} has no option {name!r}; its options are: {known}")
        try:
            return {name: self.options[name].value(value) for name, value in given.items()}
        except SettingsError as error:
            raise SettingsError(f"filter {self.name}: {error}") from error


_registered: dict[str, Filter] = {}
_broken: dict[str, str] = {}
_lacks: dict[str, str | None] = {}


def filter(  # noqa: A001  the word that people know; nobody filters an iterable here
    name: str, version: str, needs: Callable[[], str | None] | None = None
) -> Callable[[Function], Function]:
    """Register a function ``(image, *, option=default, ...) -> Outcome`` as the filter ``name``.

    ``version`` is stored with every result: change it when the same image would give another one. ``needs`` is called
    once per process, before the first image: it returns None or a sentence about what is missing on this machine, and
    may load a model so that the first image does not wait for it. Raises TypeError for a signature that cannot be a
    filter's (see options_of), an odd name or version, and a name that another function has.
    """

    def register(function: Function) -> Function:
        if not name or not version or any(c in " :,=/" or not c.isprintable() for c in name + version):
            raise TypeError(f"filter {name!r}, version {version!r}: both need text without spaces and any of :,=/")
        other = _registered.get(name)
        if other and (other.run.__module__, other.run.__qualname__) != (function.__module__, function.__qualname__):
            raise TypeError(f"two filters are called {name}: {other.run.__module__} and {function.__module__}")
        _registered[name] = Filter(name, version, function, needs, options_of(function))
        _lacks.pop(name, None)
        return function

    return register


def names() -> list[str]:
    """Return the name of every filter installed or registered here, sorted, without loading any of them."""
    return sorted(set(_registered) | set(_points()))


def find(name: str) -> Filter | None:
    """Return the filter ``name``, loading it when it is not loaded yet; None when unknown or broken (see missing)."""
    if name not in _registered and name not in _broken and name in _points():
        try:
            _points()[name].load()
        except Exception as error:  # noqa: BLE001  another package's code runs here
            _broken[name] = f"filter {name} cannot be loaded: {type(error).__name__}: {error}"
        else:
            if name not in _registered:
                _broken[name] = f"filter {name} cannot be loaded: {_points()[name].value} registers no filter {name}"
    return _registered.get(name)


def lacks(name: str) -> str | None:
    """Return what filter ``name`` lacks to run here, in one sentence; None when it can run. Asked once per process."""
    found = find(name)
    if found is None:
        return _broken.get(name) or f"there is no filter {name!r} here; the filters are: {', '.join(names())}"
    if name not in _lacks:
        try:
            _lacks[name] = found.needs() if found.needs else None
        except Exception as error:  # noqa: BLE001  another package's code runs here
            _lacks[name] = f"filter {name} cannot run: {type(error).__name__}: {error}"
    return _lacks[name]


def available() -> dict[str, str]:
    """Return name and version of every filter that can run here. It loads them all, and their models."""
    return {name: _registered[name].version for name in names() if lacks(name) is None}


def missing() -> dict[str, str]:
    """Return name and reason of every filter that is installed but cannot run here."""
    return {name: why for name in names() if (why := lacks(name)) is not None}


@cache
def _points() -> dict[str, EntryPoint]:
    """Return the installed entry points. Two packages may offer one name: ours wins, else the first."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name not in points or point.module.startswith(f"{GROUP}."):
            points[point.name] = point
    return points
