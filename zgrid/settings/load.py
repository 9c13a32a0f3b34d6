"""Gathers a role's settings from flags, environment and TOML, and says what is wrong in one sentence."""

import difflib
import os
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from zgrid.errors import SettingsError
from zgrid.settings.tables import ROLES, Common, flag_of, shown_of, variable_of

OTHER_VARIABLES = frozenset(
    {
        "ZGRID_CONFIG",
        "ZGRID_DEBUG",
        *("ZGRID_JSON", "ZGRID_TIMEOUT_MS"),  # of the commands that ask
        "ZGRID_MODELS",
        *("ZGRID_FACES", "ZGRID_SEED", "ZGRID_SLOW", "ZGRID_TEST_POSTGRES"),
    }  # for tests
)
"""Variables of ours that are no role's settings."""

Settings = TypeVar("Settings", bound=Common)


class Given(NamedTuple):
    """A value and where it comes from, in the words that an error uses."""

    value: object
    origin: str


def load(
    model: type[Settings],
    flags: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of one role. ``flags`` are those that were given; ``config`` is a TOML file.

    Raises SettingsError, one sentence: an unknown variable or key (with the closest known one), a file that cannot be
    read, a value that cannot be, or one that is missing.
    """
    environ = os.environ if environ is None else environ
    given = {name: Given(value, _words_of(model, name)) for name, value in flags.items() if value not in (None, [])}
    given = {**_from_toml(model, config, environ), **_from_environment(model, environ), **given}
    try:
        return model.model_validate({name: one.value for name, one in given.items()})
    except ValidationError as error:
        raise SettingsError(_sentence(model, error.errors(include_url=False)[0], given)) from None


def _words_of(model: type[Common], name: str) -> str:
    """Return what the command line calls a setting."""
    shown = shown_of(model, name)
    return shown.metavar if shown.is_argument else flag_of(name)


def _every_name() -> set[str]:
    """Return the names of all settings of all roles."""
    return {name for model in ROLES.values() for name in model.model_fields}


def _from_environment(model: type[Common], environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the environment gives; an empty variable gives nothing."""
    known = {variable_of(name) for name in _every_name()} | OTHER_VARIABLES
    for variable in environ:
        if variable.startswith("ZGRID_") and variable not in known:
            raise SettingsError(f"{variable} in the environment is unknown{_closest(variable, known)}")
    given: dict[str, Given] = {}
    for name, field in model.model_fields.items():
        variable = variable_of(name)
        if text := environ.get(variable):
            is_list = get_origin(field.annotation) is list
            given[name] = Given(_split(variable, text) if is_list else text, variable)
    return given


def _split(variable: str, text: str) -> list[str]:
    """Split a variable into words as a shell does, quotes and all."""
    try:
        return shlex.split(text)
    except ValueError:
        raise SettingsError(f"{variable} in the environment has a quote that is not closed") from None


def _from_toml(model: type[Common], config: Path | None, environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the TOML file gives: its own table for the role before its top level."""
    if config is None:
        if not environ.get("ZGRID_CONFIG"):
            return {}
        config = Path(environ["ZGRID_CONFIG"])
    table = _read(config)
    given: dict[str, Given] = {}
    names = _every_name()
    # "sink" is a role, and also where a ventilator's results go: what is no table is the setting.
    top = {
        key: value for key, value in table.items() if key not in ROLES or (key in names and not isinstance(value, dict))
    }
    _refuse_unknown(top, names | set(ROLES), str(config))
    for role, role_model in ROLES.items():
        own = {} if role in top else table.get(role, {})
        if not isinstance(own, dict):
            raise SettingsError(f"{config}: {role} must be a table: write [{role}] and its settings below")
        _refuse_unknown(own, set(role_model.model_fields), f"{config}, [{role}]")
        if role_model is model:
            top.update(own)
    for name in model.model_fields:
        if name in top:
            if isinstance(top[name], bool) and model.model_fields[name].annotation is not bool:
                raise SettingsError(f"{name} in {config} is no switch: write its value, not {str(top[name]).lower()}")
            given[name] = Given(top[name], f"{name} in {config}")
    return given


def _read(config: Path) -> dict[str, Any]:
    """Return the content of a TOML file."""
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"the file of settings {config} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise SettingsError(f"{config} is not TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"{config} is not TOML: it nests too deeply") from None


def _refuse_unknown(table: Mapping[str, object], known: set[str], where: str) -> None:
    """Raise SettingsError at the first key that nobody knows."""
    for key in table:
        if key not in known:
            raise SettingsError(f"{where}: the key {key} is unknown{_closest(key, known)}")


def _closest(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown name."""
    close = difflib.get_close_matches(word.replace("-", "_"), sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(model: type[Common], error: ErrorDetails, given: Mapping[str, Given]) -> str:
    """Say what is wrong with a value, where it comes from, and what it must be."""
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
    if not error["loc"]:
        return reason  # a relation between settings names them itself
    name = str(error["loc"][0])
    words = _words_of(model, name)
    if error["type"] == "missing":
        return f"{words} is needed: {model.model_fields[name].description}"
    origin = given[name].origin if name in given else f"the default of {words}"
    if reason:
        return f"{origin}: {reason}"
    given_words = f", not {error['input']!r}" if error["input"] not in ("", []) else ""
    return f"{origin} {_must(error)}{given_words}"


def _must(error: ErrorDetails) -> str:
    """Say in our words what a value must be."""
    limits = error.get("ctx", {})
    match error["type"]:
        case "int_parsing" | "int_type" | "int_from_float":
            return "must be a whole number"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}"
        case "less_than_equal":
            return f"must be at most {limits['le']}"
        case "literal_error":
            return f"must be {limits['expected']}"
        case "too_short" | "string_too_short":
            return "must not be empty"
        case "list_type":
            return "must be a list"
        case "path_type" | "string_type":
            return "must be a text"
        case _:
            return f"is not right ({error['msg']})"
