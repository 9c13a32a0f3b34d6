"""Helpers of the tests of what people do by hand: images that are put, and looking at what became of them."""

import itertools

import cv2
import numpy as np
import photographs

PIXELS = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()
NUMBERS = itertools.count(1)


def image(words="keep"):
    """Return the name and bytes of an image unlike all others, which tells the filter ``marked`` what to do."""
    number = next(NUMBERS)
    return f"{words.split()[0]}-{number}.jpg", PIXELS + b"%09d" % number + photographs.MARK + words.encode()


def await_answers(grid):
    """Wait until the ventilator answers."""
    grid.until(grid.status, what="the ventilator answers")


def state_of(client, job):
    """Return a job's state."""
    return client.peek(job)["job"]["state"]


def await_state(grid, client, job, state):
    """Wait until a job is in a state, and return it."""
    grid.until(lambda: state_of(client, job) == state, what=f"job {job} is {state}")
    return job


def sent_in_order(grid):
    """Return the jobs in the order in which they were sent first."""
    return list(dict.fromkeys(seq for one in grid.history() if one.event == "sent" for seq in one.seqs))
