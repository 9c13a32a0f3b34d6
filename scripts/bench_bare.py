"""The barest things that could do the same as the grid, for scripts/bench to be measured beside it."""

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import cv2
import msgpack
import zmq

from zgrid.filters import Chain, Image, parse_steps
from zgrid.roles.member import THREADS_ONE
from zgrid.roles.memory import keep_buffers


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def bare_jobs(paths: list[Path]) -> Iterator[dict[str, object]]:
    """Yield what is to be said of each file."""
    for number, path in enumerate(paths):
        found = path.stat()
        uri = f"file://{path}"
        key = blake2b(f"{uri} {found.st_size} {found.st_mtime_ns}".encode(), digest_size=16).digest()
        yield {
            "job": number,
            "key": key,
            "uri": uri,
            "size": found.st_size,
            "mtime_ns": found.st_mtime_ns,
            "attempt": 1,
        }


def bare_ventilator(port: int, paths: list[Path], inline: bool, search: bool, ready: object) -> None:
    """Send a message for each file; with ``search`` it looks at the files meanwhile, else it has done so before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.bind(f"tcp://127.0.0.1:{port}")
    jobs = bare_jobs(paths) if search else list(bare_jobs(paths))
    ready.wait()
    for path, job in zip(paths, jobs, strict=True):
        push.send_multipart([msgpack.packb(job), path.read_bytes() if inline else b""], copy=not inline)
    push.close()
    context.term()


def bare_worker(source: int, target: int) -> None:
    """Pass each job on as a result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.connect(f"tcp://127.0.0.1:{source}")
    push = context.socket(zmq.PUSH)
    push.connect(f"tcp://127.0.0.1:{target}")
    while True:
        header, _body = pull.recv_multipart()
        result = msgpack.unpackb(header)
        result |= {"worker": "w", "outcome": "keep", "chain": "null", "width": None, "height": None, "format": None}
        result |= {"digest": None, "notes": None, "wait_ms": 0.0, "read_ms": 0.0, "work_ms": 0.0}
        push.send_multipart([msgpack.packb(result), b""])


def bare(paths: list[Path], inline: bool, search: bool) -> float:
    """Return the jobs per second of a bare pipeline with two workers."""
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    target = pull.bind_to_random_port("tcp://127.0.0.1")
    (source,) = free_ports(1)
    ready = multiprocessing.Event()
    workers = [multiprocessing.Process(target=bare_worker, args=(source, target), daemon=True) for _ in range(2)]
    ventilator = multiprocessing.Process(
        target=bare_ventilator, args=(source, paths, inline, search, ready), daemon=True
    )
    try:
        for process in (*workers, ventilator):
            process.start()
        time.sleep(1.0 + len(paths) * 3e-5)  # everybody is connected; the clock has not started
        began = time.monotonic()
        ready.set()
        for _ in paths:
            header, _ = pull.recv_multipart()
            msgpack.unpackb(header)
        return len(paths) / (time.monotonic() - began)
    finally:
        ended((*workers, ventilator))
        pull.close(0)
        context.term()


def ended(processes: Iterable[multiprocessing.Process]) -> None:
    """End those of the processes that were started."""
    for process in processes:
        if process.pid is not None:
            process.kill()
            process.join()


def run_chain(paths: list[Path], counter: object) -> None:
    """Run the default chain on files, taken from a shared list, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    keep_buffers()  # as a worker's child does
    chain = Chain(parse_steps(["faces", "highlight"]))
    chain.run(Image("warm", paths[0].read_bytes()))
    with counter["ready"].get_lock():
        counter["ready"].value += 1
    counter["go"].wait()
    while True:
        with counter["next"].get_lock():
            number = counter["next"].value
            counter["next"].value += 1
        if number >= len(paths):
            return
        chain.run(Image(f"file://{paths[number]}", paths[number].read_bytes()))


def bare_chain(paths: list[Path]) -> float:
    """Return the images per second of the chain in two bare processes."""
    spawn = multiprocessing.get_context("spawn")
    counter = {"next": spawn.Value("q", 0), "ready": spawn.Value("q", 0), "go": spawn.Event()}
    os.environ |= dict.fromkeys(THREADS_ONE, "1")  # as an agent's children have it
    processes = [spawn.Process(target=run_chain, args=(paths, counter)) for _ in range(2)]
    try:
        for process in processes:
            process.start()
        while counter["ready"].value < 2:
            time.sleep(0.01)
        began = time.monotonic()
        counter["go"].set()
        for process in processes:
            process.join()
        return len(paths) / (time.monotonic() - began)
    finally:
        ended(processes)
