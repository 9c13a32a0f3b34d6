"""Every error of zgrid, and the exit statuses, in one place. The name says whose fault it is.

A broken invariant of our own is an ``assert``: the process stops loudly and its supervisor starts it again.
"""

EXIT_OK = 0
"""Everything was settled."""
EXIT_OURS = 1
"""A fault of zgrid's own."""
EXIT_SETTINGS = 2
"""Wrong usage or settings, or a damaged file: trying again changes nothing."""
EXIT_BURIED = 3
"""Everything was settled, but something was buried, or could not be read by a run, and wants to be looked at."""
EXIT_SIGNAL = 128
"""A run that was told to stop before everything was settled: this and the signal's number, as shells count it."""


class ZGridError(Exception):
    """Any error that zgrid raises on purpose; its text is one sentence that says what to do."""


class SettingsError(ZGridError):
    """The operator's: a setting, argument, address or file that cannot work."""


class ForeignError(SettingsError):
    """A file that was named is something else than what was asked for; it is left alone."""


class PeerError(ZGridError):
    """The other side's: bytes or a message that the protocol does not allow. Dropped and counted."""


class StoreError(ZGridError):
    """The disk's or database's of this machine: stop taking work until it is mended."""


class FullError(StoreError):
    """No space is left on a disk: everything waits, and goes on by itself when there is some again."""


class DamagedError(StoreError):
    """A file of ours is damaged: waiting does not mend it, so the process ends and says how to. ``what`` was found."""

    def __init__(self, message: str, *, what: str = "") -> None:
        super().__init__(message)
        self.what = what or message


class RefusedError(ZGridError):
    """A ventilator's answer to what it was asked for and cannot do now: nothing of it was done.

    ``image``: where an image is the reason, its place among those that were put, from 0; it may not be put at all.
    """

    def __init__(self, message: str, *, image: int | None = None) -> None:
        super().__init__(message)
        self.image = image


class SourceError(ZGridError):
    """A source or one image of it cannot be read.

    ``transient`` is true where trying again may help (a network share that is away) and false where it cannot
    (the file is gone). ``forbidden``: this process may not read it, which says nothing of the image itself.
    """

    def __init__(self, message: str, *, transient: bool = False, forbidden: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
        self.forbidden = forbidden


class FilterError(ZGridError):
    """The image's: it cannot be decoded or processed. The job is buried with this text, and the grid goes on."""
