"""The arguments of people's questions, taken out of what came over the wire and checked; each error is a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from zgrid.errors import SettingsError
from zgrid.protocol.job import State
from zgrid.protocol.limits import TEXT_CHARS_MAX, URI_CHARS_MAX

LIMIT_MAX = 1000
"""Jobs in one answer."""


def text_of(body: Mapping[str, Any], name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """Return a text, None where it is not given, or empty. Raises SettingsError."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > chars_max:
        raise SettingsError(f"{name} must be a text of at most {chars_max} characters")
    return value or None


def _choice_of(body: Mapping[str, Any], name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """Return a text that chooses, None where it is not given. Raises SettingsError for an empty one: it is not all."""
    if body.get(name) == "":
        raise SettingsError(f"{name} is empty: name one, or leave it out")
    return text_of(body, name, chars_max)


def pattern_of(body: Mapping[str, Any]) -> str | None:
    """Return the pattern that sources' names are to match, None where none is given. Raises SettingsError."""
    return _choice_of(body, "source", URI_CHARS_MAX)


def chain_of(body: Mapping[str, Any]) -> str | None:
    """Return the chain that a question names, None where it names none. Raises SettingsError."""
    return _choice_of(body, "chain")


def state_of(body: Mapping[str, Any], legal: Sequence[State]) -> State | None:
    """Return a state, None where none is given. Raises SettingsError for one that is not among the ``legal``."""
    text = _choice_of(body, "state")
    if text is None:
        return None
    state = State.__members__.get(text.upper())
    if state is None or state not in legal:
        names = ", ".join(one.name.lower() for one in legal)
        raise SettingsError(f"state {text!r} cannot be asked for here: name one of {names}")
    return state


def limit_of(body: Mapping[str, Any]) -> int:
    """Return how many jobs are wanted at most. Raises SettingsError."""
    limit = body.get("limit", 100)
    if type(limit) is not int or not 0 < limit <= LIMIT_MAX:
        raise SettingsError(f"limit must be a whole number from 1 to {LIMIT_MAX}")
    return limit


def job_of(body: Mapping[str, Any]) -> str | None:
    """Return the job that a question names, None where it names none. Raises SettingsError."""
    job = body.get("job")
    return None if job is None else _name(job)


def jobs_of(body: Mapping[str, Any]) -> list[str] | None:
    """Return the jobs that a question names, each once, None where it names none. Raises SettingsError."""
    jobs = body.get("jobs")
    if jobs is None:
        return None
    if not isinstance(jobs, list) or not jobs:
        raise SettingsError("jobs must be a list of numbers, keys, URIs or paths")
    return list(dict.fromkeys(map(_name, jobs)))


def _name(job: object) -> str:
    if type(job) is int:
        return str(job)
    if not isinstance(job, str) or not 0 < len(job) <= URI_CHARS_MAX:
        raise SettingsError(f"a job is named by number, key, URI or path, of at most {URI_CHARS_MAX} characters")
    return job
