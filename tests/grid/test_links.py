"""Whose connection to a lane it is that came or went, told from the monitor's events alone."""

import pytest
import zmq

from zgrid.transport.lanes import Links

ACCEPTED, GREETED, ENDED = zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([(ACCEPTED, 5), (GREETED, 0), (ENDED, 5)], [None, True, False]),
        ([(ACCEPTED, 5), (ENDED, 5)], [None, None]),
        ([(ACCEPTED, 5), (ENDED, 5), (ACCEPTED, 5), (GREETED, 0)], [None, None, None, True]),
        ([(ACCEPTED, 5), (GREETED, 0), (ACCEPTED, 6), (ENDED, 6), (ENDED, 5)], [None, True, None, None, False]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (ENDED, 6)], [None, None, True, None]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (ENDED, 6), (ENDED, 5)], [None, None, True, None, False]),
        ([(ACCEPTED, 5), (GREETED, 0), (ACCEPTED, 6), (GREETED, 0), (ENDED, 6)], [None, True, None, False, None]),
        ([(ACCEPTED, 6), (ACCEPTED, 5), (GREETED, 0), (GREETED, 0), (ENDED, 5)], [None, None, True, False, None]),
    ],
)
def test_only_the_worker_counts(events, said):
    """Strangers that come, fail to greet and go are nobody; the worker's coming and going are told once each.

    A second one that greets has come to the wrong lane, or the first one is gone: either way the lane is of no use.
    """
    links = Links()
    assert [links.heard(*event) for event in events] == said
