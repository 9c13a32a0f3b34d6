"""A chain: filters in order over one image, with one outcome. Nothing that a filter does ends the process."""

from functools import partial

from zgrid.errors import FilterError, SettingsError, SourceError
from zgrid.filters import registry
from zgrid.filters.image import Image
from zgrid.filters.outcome import Discard, Fail, Keep, Outcome, check_notes
from zgrid.filters.step import Step

REASON_CHARS_MAX = 500
"""Longest reason of a failure: a sentence for people, which is kept in the ledger."""

_NO_MEMORY = ("(-4:insufficient memory)", "memory allocation failed", "bad_alloc", "failed to allocate memory")
"""How OpenCV, ImageMagick and ONNX Runtime say what is a MemoryError in Python; in small letters."""

_PLAIN = Keep()
"""What a chain says whose filters had nothing to say: the same for all images, for to make one takes half as long as
all else that a chain does for a null filter."""


class Chain:
    """The filters of ``steps``, ready to run.

    ``text`` is the canonical text ("faces highlight:width_px=4") and ``version`` names what made a result
    ("faces/1 highlight/1"). ``starved`` says of the last image whether memory failed. Raises SettingsError when a
    filter is unknown, cannot run here, or has a bad option.
    """

    __slots__ = ("_runs", "starved", "steps", "text", "version")

    def __init__(self, steps: tuple[Step, ...]) -> None:
        if not steps:
            raise SettingsError("a chain needs at least one filter, for example: faces")
        ready, typed = [], []
        for step in steps:
            why, known = registry.lacks(step.name), registry.find(step.name)
            if why or known is None:
                raise SettingsError(why or f"there is no filter {step.name!r} here")
            ready.append(known)
            typed.append(Step(step.name, known.typed(step.options)))
        self.starved = False
        self.steps = tuple(typed)
        self.text = " ".join(map(str, typed))
        self.version = " ".join(f"{known.name}/{known.version}" for known in ready)
        self._runs = [
            (step.name, partial(known.run, **step.options) if step.options else known.run)
            for step, known in zip(typed, ready, strict=True)
        ]

    def run(self, image: Image) -> Outcome:
        """Return what the filters make of ``image``; a Discard or Fail ends it.

        A filter finds the notes of the earlier ones in ``image.notes``; Keep has those of all, and the last picture.
        Whatever a filter raises becomes a Fail: permanent, but transient where it was the source or the memory that
        failed, since another attempt may find them better.
        """
        picture, media = None, None
        self.starved = False
        for name, run in self._runs:
            try:
                outcome = run(image)
                if isinstance(outcome, Keep):
                    if outcome.notes:
                        _check(name, outcome.notes)
                        image.notes.update(outcome.notes)
                    if outcome.picture is not None:
                        picture, media = outcome.picture, outcome.media
                    continue
            except FilterError as error:
                return Fail(_short(str(error)))
            except SourceError as error:
                return Fail(_short(str(error)), transient=error.transient)
            except Exception as error:  # noqa: BLE001  one image must not end the process that serves all others
                if _lacks_memory(error):
                    self.starved = True
                    return Fail(_short(f"not enough memory for filter {name} on this image: {error}"), transient=True)
                return Fail(_short(f"filter {name} failed: {type(error).__name__}: {error}{_hint(error)}"))
            if isinstance(outcome, Discard | Fail):
                return outcome
            return Fail(f"filter {name} returned {type(outcome).__name__} instead of Keep, Discard or Fail")
        return Keep(image.notes, picture, media) if image.notes or picture is not None else _PLAIN


def _check(name: str, notes: object) -> None:
    """Raise FilterError, naming the filter, unless its notes are plain data."""
    try:
        check_notes(notes)
    except FilterError as error:
        raise FilterError(f"filter {name}: {error}") from error


def _lacks_memory(error: Exception) -> bool:
    text = str(error).casefold()
    return isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY)


def _hint(error: Exception) -> str:
    """Return what to do where a filter may not do what it tries: a worker's children have no network and few files."""
    if not any(
        words in str(error) for words in ("Permission denied", "Operation not permitted", "No usable temporary")
    ):
        return ""
    return " (a worker allows its filters more with --child-network, --child-read and --child-write)"


def _short(reason: str) -> str:
    """Return the reason on one line, at most REASON_CHARS_MAX characters long."""
    return " ".join(reason.split()).rstrip(": ")[:REASON_CHARS_MAX]
