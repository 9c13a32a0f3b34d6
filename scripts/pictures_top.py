"""The picture of ``zgrid top`` for scripts/pictures: a real grid on this machine, drawn while it is at work."""

import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import cv2
from rich.console import Console

from zgrid.cli.board import Look, Sight, board
from zgrid.cli.watching import Watch
from zgrid.transport.client import Client
from zgrid.transport.clock import now

WIDTH = 120
WITHIN_S = 120.0
LONGEST_PX = 640
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


def picture_of_top(target: Path, photographs: list[Path], images: int) -> None:
    """Run a grid over so many images made of the photographs, and draw what ``zgrid top`` shows of it halfway."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "photos", photographs, images)
        with grid(folder) as addresses:
            sights = halfway(addresses)
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(board(sights, now(), Look(WIDTH, sort="pace", foot="q quit  p pause  s sort: pace")))
    svg = console.export_svg(title=f"zgrid top {' '.join(addresses)}", unique_id="top")
    # The letters must not come from another's server: a picture in a README is not allowed to ask for them anyway.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", FONTS)
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")


def write_images(folder: Path, photographs: list[Path], images: int) -> None:
    """Write images no larger than needed, and one that is cut short: a grid has something to bury, too."""
    folder.mkdir()
    encoded = []
    for path in photographs:
        pixels = cv2.imread(str(path))
        scale = min(1.0, LONGEST_PX / max(pixels.shape[:2]))
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        encoded.append(cv2.imencode(".jpg", small)[1].tobytes())
    for number in range(images):
        (folder / f"img_{number:05d}.jpg").write_bytes(encoded[number % len(encoded)])
    (folder / "img_00007.jpg").write_bytes(encoded[0][: len(encoded[0]) // 2])


def free_port(first: int) -> int:
    """Return the first port from this one on that nobody uses."""
    for port in range(first, 65536):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit(f"pictures: no port from {first} on is free")


@contextmanager
def grid(folder: Path) -> Iterator[list[str]]:
    """Run a ventilator, two workers and a sink; give the addresses of the ventilator and the sink."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("ZGRID_") or name == "ZGRID_MODELS"
    }
    photos, results = (f"tcp://127.0.0.1:{free_port(port)}" for port in (5550, 5560))
    commands = [
        ["worker", photos, "--name", "attic", "--procs", "1"],
        ["worker", photos, "--name", "workshop", "--procs", "2"],
        ["ventilator", "photos", "--bind", photos, "--sink", results, "--ledger", "ledger.sqlite", "--name", "photos"],
        ["sink", "--bind", results, "--intake-port", "0", "--name", "results"],
    ]
    running = []
    try:
        for words in commands:
            if words[0] == "sink":  # jobs wait for it: else one worker might do all of them
                await_workers(photos)
            with (folder / "log.jsonl").open("ab") as log:
                command = [sys.executable, "-m", "zgrid", *words]
                running.append(subprocess.Popen(command, cwd=folder, env=kept, stdout=log, stderr=log))
        yield [photos, results]
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def await_workers(ventilator: str) -> None:
    """Wait until both workers are there."""
    deadline = time.monotonic() + WITHIN_S
    with Client(ventilator) as client:
        while time.monotonic() < deadline:
            workers = client.ask({"what": "status"}, timeout_ms=round(WITHIN_S * 1000))["workers"]
            if sum(one["state"] == "ready" for one in workers) == 2:
                return
            time.sleep(0.05)
    sys.exit("pictures: the workers do not come; see zgrid status while scripts/pictures runs")


def halfway(addresses: list[str]) -> list[Sight]:
    """Return what is known of the addresses when about half of the images are settled."""
    news = Event()
    watches = [Watch(address, 0.4, 2000, news.set) for address in addresses]
    deadline = time.monotonic() + WITHIN_S
    try:
        while True:
            if not news.wait(deadline - time.monotonic()):
                sys.exit("pictures: the grid does not get on; see zgrid status while scripts/pictures runs")
            news.clear()
            answer = watches[0].sight.answer or {}
            counts = answer.get("counts", {})
            settled = sum(counts.get(state, 0) for state in ("stored", "discarded", "buried"))
            at_work = len(answer.get("workers", ())) == 2 and all(one["done"] for one in answer["workers"])
            if at_work and watches[1].sight.answer and settled > answer["accepted"] / 2:
                return [watch.sight for watch in watches]
    finally:
        for watch in watches:
            watch.stop()
