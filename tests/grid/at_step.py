"""A process of zgrid that is struck at a step of a job's life when a test has armed it (``steps.py``).

``python at_step.py ROLE ...`` is ``zgrid ROLE ...`` with the role's steps watched, and a worker's children watch theirs
when they import this as a module of filters. What runs is the product's own code, called as always; only the calls that
are steps tell of themselves.
"""

import functools
import importlib
import os
import sys
import time
from pathlib import Path

from steps import FOLDER, STEPS, Watch


def watch_steps(role):
    """Watch all steps of a role in this process."""
    folder = Path(os.environ[FOLDER])
    watches = {
        step.name: Watch(folder, step, time.monotonic, lambda: time.time_ns() // 1_000_000)
        for step in STEPS
        if step.role == role
    }
    due = {step.since for step in STEPS if step.since}
    passed = set()

    def tell(step):
        """Tell of a passing, if it is one: a step that follows another one is passed once for each time of that."""
        if step.since and step.since not in passed:
            return
        passed.discard(step.since)
        if step.name in due:
            passed.add(step.name)
        watches[step.name].passed()

    for step in STEPS:
        if step.role == role:
            (_wrap_points if step.when.startswith("at ") else _wrap_call)(step, functools.partial(tell, step))


def _find(place):
    """Return what holds the attribute at a place, and the attribute's name."""
    module, _, names = place.partition(":")
    holder = importlib.import_module(module)
    *path, name = names.split(".")
    for part in path:
        holder = getattr(holder, part)
    return holder, name


def _wrap_call(step, tell):
    """Have ``tell`` called before or after each call of a function or method."""
    holder, name = _find(step.place)
    original = getattr(holder, name)
    is_method = "." in step.place.partition(":")[2]

    @functools.wraps(original)
    def call(*arguments, **named):
        is_meant = not step.message or type(arguments[is_method]).__name__ == step.message
        if is_meant and step.when == "before":
            tell()
        result = original(*arguments, **named)
        if is_meant and step.when == "after":
            tell()
        return result

    setattr(holder, name, call)


def _wrap_points(step, tell):
    """Have ``tell`` called at one of the points that a class names by calling its argument ``at_step``."""
    holder, name = _find(step.place)
    kind = getattr(holder, name)
    original = kind.__init__
    point = step.when.removeprefix("at ")

    @functools.wraps(original)
    def make(self, *arguments, at_step=lambda _: None, **named):
        def at(name):
            if name == point:
                tell()
            at_step(name)

        original(self, *arguments, at_step=at, **named)

    kind.__init__ = make


if __name__ == "__main__":
    from zgrid.cli import main

    watch_steps(sys.argv[1])
    main()
elif FOLDER in os.environ and Path(sys.argv[0]).name == "child.py":
    watch_steps("child")
