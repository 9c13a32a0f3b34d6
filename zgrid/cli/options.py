"""Turns a role's table of settings into a command's options: name, type, default, variable and help come from there."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer

from zgrid.settings import Common, Served, flag_of, load, shown_of, variable_of

Settings = TypeVar("Settings", bound=Common)

CONFIG = typer.Option(
    "--config",
    metavar="FILE",
    help="a TOML file of settings; flags and variables come before it (default: none; ZGRID_CONFIG)",
    show_default=False,
)


def takes(model: type[Settings]) -> Callable[[Callable[[Settings], int]], Callable[..., int]]:
    """Return a decorator that gives a command one option for each setting of ``model``, and then calls it with them.

    Nothing is a default for Typer: what was not given is looked for in the environment, then in the TOML file.
    """
    parameters = [_parameter(model, name) for name in sorted(model.model_fields, key=lambda name: _rank(model, name))]
    config = Annotated[Path | None, CONFIG]
    parameters.append(_keyword("config", config))

    def decorate(command: Callable[[Settings], int]) -> Callable[..., int]:
        def run(*, config: Path | None = None, **flags: object) -> int:
            return command(load(model, flags, config))

        run.__name__ = command.__name__
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _rank(model: type[Common], name: str) -> tuple[bool, bool, bool, bool]:
    """Put arguments first, then what is needed, then the rest, then what every role has, and limits last."""
    shown, field = shown_of(model, name), model.model_fields[name]
    return (not shown.is_argument, not field.is_required(), shown.is_limit, name in Served.model_fields)


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    """Return a parameter that may be left out."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parameter(model: type[Common], name: str) -> inspect.Parameter:
    """Return one setting as Typer wants it: as text or a list of texts, so that values are checked in one place."""
    field, shown = model.model_fields[name], shown_of(model, name)
    kind: Any = str
    if get_origin(field.annotation) is list:
        kind = list[str]
    elif field.annotation is bool:
        kind = bool
    if shown.is_argument:
        given: Any = typer.Argument(metavar=shown.metavar, help=help_text(model, name), show_default=False)
    else:
        flag = flag_of(name)
        given = typer.Option(
            f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
            metavar=None if kind is bool else shown.metavar,
            help=help_text(model, name),
            show_default=False,
        )
    return _keyword(name, Annotated[kind | None, given])


def help_text(model: type[Common], name: str) -> str:
    """Return what help says of a setting: what it is for, its default, and its variable."""
    field, shown = model.model_fields[name], shown_of(model, name)
    if field.is_required():
        default = "needed"
    else:
        default = "default: " + (shown.default or _text(field.default, is_size=shown.metavar == "SIZE"))
    return f"{field.description} ({default}; {variable_of(name)})"


def _text(value: object, *, is_size: bool) -> str:
    """Return a default as somebody would type it."""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value >> 20}MiB" if is_size and isinstance(value, int) else str(value)
