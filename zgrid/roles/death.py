"""How a child of a worker has died, in words for whoever looks at the job that it was at."""

from zgrid.roles.link import EXIT_STARVED
from zgrid.roles.pool import Died


def why_it_died(news: Died) -> str:
    """Say how a child ended."""
    if news.killed_because:
        return f"the child was killed: {news.killed_because}"
    if is_starved(news):
        return (
            "the child had no memory left after several images, and another one goes on: if this comes often, a filter "
            "leaks, or --child-memory-bytes-max is too low"
        )
    if news.signal:
        return f"the child died of signal {news.signal}"
    return f"the child ended with status {news.exit}"


def is_starved(news: Died) -> bool:
    """Whether a child ended for want of memory, and not in the middle of a job."""
    return news.exit == EXIT_STARVED and news.started_token is None
