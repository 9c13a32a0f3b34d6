"""Whether a worker's children can run a chain, told before any image is accepted for it.

With modules of a user's own, what filters there are is known in children alone: nothing else imports such a module.
"""

import select
from collections.abc import Callable

from zgrid.roles.permits import sandbox_of
from zgrid.roles.pool import Died, Pool, Ready
from zgrid.settings import WorkerSettings
from zgrid.transport.clock import now as clock_now

LOOK_EVERY_MS = 100
"""How soon it is seen that somebody does not want to know any more."""


def problem_of(chain: str, settings: WorkerSettings, is_over: Callable[[], bool]) -> str | None:
    """Return why children of a worker with these settings cannot run a chain, in a sentence; None where they can.

    Takes as long as a child takes to start, or until ``is_over``: then it is None, as it is of a child that cannot
    start at all, of which the worker tells.
    Raises SettingsError where a place does not exist that children may use.
    """
    with Pool(1, chains={0: chain}, filters=settings.filter_module, sandbox=sandbox_of(settings)) as pool:
        pool.start(clock_now())
        poll = select.poll()
        poll.register(pool.fileno(), select.POLLIN)
        while not is_over():
            poll.poll(LOOK_EVERY_MS)
            for event in pool.service(clock_now()):
                if isinstance(event, Ready):
                    return event.chains[0].problem if event.chains else None
                if isinstance(event, Died):
                    return None
    return None
