"""How a child of a worker has died, in words for whoever looks at the job that it was at."""

from collections import deque
from dataclasses import replace

from zgrid.roles.link import EXIT_STARVED, EXIT_UNIMPORTED
from zgrid.roles.pool import Died

_STARVED_MAX = 64
"""How many jobs are remembered at which a child starved: more than the children of any machine can be at in turns."""


class Starvation:
    """Tells whose fault it is when children have no memory left: at first nobody's, for an earlier image may have it.

    The job goes on to another child. Where that one starves at it too, the job needs the memory, and is to blame: else
    it would take down child after child before it met one at whose start it is.
    """

    def __init__(self) -> None:
        self._tokens: deque[int] = deque(maxlen=_STARVED_MAX)

    def blame(self, news: Died) -> Died:
        """Return the death with the job to blame, if it starved at one that another child had starved at."""
        if not (is_starved(news) and news.rest):
            return news
        token = news.rest[0]  # jobs are done in order, and it has told of all those before
        if token not in self._tokens:
            self._tokens.append(token)
            return news
        self._tokens.remove(token)
        return replace(news, started_token=token, rest=news.rest[1:])


def why_it_died(news: Died) -> str:
    """Say how a child ended."""
    if news.killed_because:
        return f"the child was killed: {news.killed_because}"
    if is_starved(news):
        return (
            "the child had no memory left after several images, and another one goes on: if this comes often, a filter "
            "leaks, or --child-memory-bytes-max is too low"
        )
    if news.exit == EXIT_STARVED:
        return (
            "the child had no memory left for this image, like another one before: if it is not too large, raise "
            "--child-memory-bytes-max"
        )
    if is_unimportable(news):
        return f"--filter-module {''.join(news.stderr_tail.splitlines()[-1:])}: mend it; the log has the traceback"
    if news.signal:
        return f"the child died of signal {news.signal}"
    return f"the child ended with status {news.exit}"


def is_unimportable(news: Died) -> bool:
    """Whether a child ended because it could not import what it was told to."""
    return news.exit == EXIT_UNIMPORTED and not news.was_ready


def is_starved(news: Died) -> bool:
    """Whether a child ended for want of memory, and not in the middle of a job."""
    return news.exit == EXIT_STARVED and news.started_token is None
