"""A filter that does what the image tells it to: whatever a filter can do to the process that runs it."""

# ruff: noqa: ARG005  one table of actions, most of which need one of their two arguments

import atexit
import ctypes
import mmap
import os
import re
import struct
import sys
import threading

import msgpack
import numpy as np

from zgrid.errors import FilterError
from zgrid.filters import Discard, Fail, Image, Keep, Outcome, filter, touch  # noqa: A004  the decorator is called so

MARK = b"\nzgrid-test: "
"""Stands before the words that the filter ``marked`` obeys."""


@filter("act", "7")
def act(image: Image, *, note: str = "") -> Outcome:
    """Do what the first word of the image's bytes names, with the rest as its argument."""
    verb, _, argument = bytes(image.data[:200]).decode().partition(" ")
    verb = verb.rstrip("\0")
    return _ACTIONS[verb](image, argument.rstrip("\0")) or Keep({"note": note} if note else {})


@filter("marked", "1")
def marked(image: Image, *, work_ms: int = 0) -> Outcome:
    """Do what is written behind the image's own bytes, where decoders do not look; keep an image without."""
    if work_ms:
        threading.Event().wait(work_ms / 1000)
    words = bytes(image.data).rpartition(MARK)[2] if MARK in bytes(image.data) else b"keep"
    verb, _, argument = words.decode().partition(" ")
    return _ACTIONS[verb](image, argument) or Keep({})


@filter("look", "1")
def look(image: Image) -> Outcome:
    """Look at the header, as a filter of real images does."""
    return Keep({"size": [image.header.width, image.header.height]})


def _spin(image: Image, argument: str) -> None:
    while True:
        pass


def _wait(image: Image, argument: str) -> None:
    """Stay until the file that ``argument`` names is there."""
    while not os.path.exists(argument):
        threading.Event().wait(0.002)


def _flaky(image: Image, argument: str) -> Outcome | None:
    """Have trouble until the file that ``argument`` names is there, which the first trouble makes."""
    if os.path.exists(argument):
        return None
    with open(argument, "x"):
        return Fail("it was not there yet", transient=True)


def _touches(image: Image, argument: str) -> None:
    for number in range(4):
        touch(number / 4)
    _wait(image, argument)


def _eat(image: Image, argument: str) -> None:
    held = [bytes(1 << 20) for _ in range(1 << 14)]
    raise AssertionError(f"{len(held)} MiB were there for the taking")


def _leak(image: Image, argument: str) -> Outcome:
    """Keep so many MiB for ever, then a picture of 2000 bytes."""
    _LEAKED.append(b"x" * (int(argument) << 20))
    return Keep({}, b"p" * 2000, "image/png")


def _print(image: Image, argument: str) -> None:
    print("to standard output")
    print("x" * 6000, "the last words", file=sys.stderr, flush=True)
    os._exit(9)


def _child(image: Image, argument: str) -> None:
    """Leave a process behind and die; note its number and what descriptors it was given."""
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
    while os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):
        pass
    given = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    with open(argument + ".part", "w") as file:
        file.write("\n".join([str(pid), *given]))
    os.rename(argument + ".part", argument)
    os._exit(5)


def _linger(image: Image, argument: str) -> None:
    """End in order, but slowly, as with much memory on a busy machine."""
    atexit.register(threading.Event().wait, float(argument))
    sys.exit(4)


def _descriptor(name: str) -> int:
    return int(re.search(rf"--{name}=(\d+)", " ".join(sys.argv))[1])


def _say(image: Image, argument: str) -> None:
    """Send the agent what no child sends, then stay."""
    header = {
        "garbage": b"\xc1" * 40,
        "text": msgpack.packb("results"),
        "many": msgpack.packb([7, b"\0" * 900, b"", b"", []]),
        "ready": msgpack.packb([5, {}, {}, [], []]),
        "chain": msgpack.packb([6, [99, "act/7", None]]),
    }.get(argument, b"")
    prefix = struct.pack("<II", len(header), 0) if header else b"\xff" * 8
    os.write(_descriptor("link"), prefix + header)
    _spin(image, argument)


def _hang_up(image: Image, argument: str) -> None:
    os.close(_descriptor("link"))
    _spin(image, argument)


def _lie(image: Image, argument: str) -> None:
    """Write nonsense over the counters, then stay."""
    memoryview(mmap.mmap(_descriptor("arena"), mmap.PAGESIZE)).cast("Q")[0] = 1 << 40
    _spin(image, argument)


def _shrink(image: Image, argument: str) -> Outcome:
    """Try to cut the shared memory short under the agent's feet."""
    try:
        os.ftruncate(_descriptor("arena"), 0)
    except PermissionError:
        return Discard("it may not")
    return Fail("it may")


def _write(image: Image, argument: str) -> Outcome:
    return Discard("read only") if image.data.readonly else Fail("writable")


def _sum(image: Image, argument: str) -> Outcome:
    return Keep({"sum": int(np.frombuffer(image.data, np.uint8).sum()), "size": len(image.data)})


def _raise(image: Image, argument: str) -> None:
    raise FilterError(argument)


_LEAKED: list[bytes] = []

_ACTIONS = {
    "keep": lambda image, argument: None,
    "note": lambda image, argument: Keep({"said": argument}),
    "picture": lambda image, argument: Keep({}, b"p" * int(argument), "image/png"),
    "odd": lambda image, argument: Keep({}, "not bytes", "image/png"),
    "long": lambda image, argument: Keep({"long": "x" * (1 << 20)}),
    "discard": lambda image, argument: Discard(argument),
    "surrogate": lambda image, argument: Discard("no face in \udcff.jpg"),
    "fail": lambda image, argument: Fail(argument),
    "later": lambda image, argument: Fail(argument, transient=True),
    "unless": lambda image, argument: None if os.path.exists(argument) else Fail("not yet", transient=True),
    "raise": _raise,
    "segv": lambda image, argument: ctypes.string_at(0),
    "exit": lambda image, argument: os._exit(int(argument)),
    "leave": lambda image, argument: sys.exit(4),
    "spin": _spin,
    "flaky": _flaky,
    "wait": _wait,
    "touches": _touches,
    "eat": _eat,
    "leak": _leak,
    "print": _print,
    "child": _child,
    "say": _say,
    "hang_up": _hang_up,
    "linger": _linger,
    "lie": _lie,
    "shrink": _shrink,
    "write": _write,
    "sum": _sum,
}
