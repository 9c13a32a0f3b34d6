"""What a picture costs one core: our chain and the tutorials' way, photographs of each class, and how they compare."""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MAGICK_THREAD_LIMIT"):
    os.environ[_name] = "1"

import cv2  # noqa: E402  after the threads are set
import numpy as np  # noqa: E402
from bench_figures import Figure, Goal  # noqa: E402
from wand.color import Color  # noqa: E402
from wand.drawing import Drawing  # noqa: E402
from wand.image import Image as MagickImage  # noqa: E402
from wand.resource import limits  # noqa: E402

from zgrid.filters import Chain, Image, Keep, detector_engine, parse_steps, stages  # noqa: E402
from zgrid.roles.memory import keep_buffers  # noqa: E402

STAGES = ("read", "decode", "detect", "draw", "encode")
KEYS = (*STAGES, "all", "found")
REAL_PIXELS_MIN = 3_000_000
MOSAIC = (4, 3)
"""How many images a mosaic is wide and high."""
CLASSES = {
    "12-faces": ("12 megapixels, faces", 20.0),
    "12-none": ("12 megapixels, no face", 60.0),
    "real": ("3 to 12 megapixels, as taken", None),
    "1-faces": ("1 megapixel, faces", 10.0),
    "1-none": ("1 megapixel, no face", 10.0),
}
"""Class of photographs -> what it is, and how many times faster than the tutorials' way ours should be."""

Way = Callable[[Path], dict[str, float]]
"""Does one file; returns the seconds that each stage took."""
Tell = Callable[[str], None]


# --- images


def grained(pixels, seed: int):
    """Return pixels with noise as a sensor's, so that a file of theirs is as large as a camera's."""
    noise = np.random.default_rng(seed).normal(0, 5, pixels.shape[:2]).astype(np.float32)
    noise = 1.5 * cv2.GaussianBlur(noise, (0, 0), 0.7)
    return np.clip(pixels + noise[:, :, None], 0, 255).astype(np.uint8)


def sized(path: Path, megapixels: float, seed: int):
    """Return an image's pixels, enlarged or reduced to so many megapixels."""
    pixels = cv2.imread(str(path))
    scale = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
    method = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA
    return grained(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=method), seed)


def mosaic(paths: list[Path], seed: int):
    """Return twelve images of one megapixel each, beside and below one another."""
    columns, rows = MOSAIC
    tiles = [cv2.resize(cv2.imread(str(path)), (1000, 1000), interpolation=cv2.INTER_CUBIC) for path in paths]
    lines = [np.hstack([tiles[(row * columns + at) % len(tiles)] for at in range(columns)]) for row in range(rows)]
    return grained(np.vstack(lines), seed)


def make(folder: Path, images: list[Path], megapixels: float, count: int) -> list[Path]:
    """Write ``count`` photographs of a class into a folder; return their paths."""
    folder.mkdir(parents=True)
    chosen = images[:: max(1, len(images) // count)][:count]
    made = []
    for number, path in enumerate(chosen):
        is_mosaic = megapixels > 4 and number % 4 == 3
        neighbours = [images[(number * 7 + at) % len(images)] for at in range(MOSAIC[0] * MOSAIC[1])]
        pixels = mosaic(neighbours, number) if is_mosaic else sized(path, megapixels, number)
        made.append(folder / f"{number:03d}{'-mosaic' if is_mosaic else ''}.jpg")
        cv2.imwrite(str(made[-1]), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return made


def classes(source: Path, folder: Path, count: int, wanted: list[str]) -> Iterator[tuple[str, list[Path]]]:
    """Yield name and photographs of each class that is wanted."""
    labels = json.loads((source / "labels.json").read_text())
    of = {
        word: [source / "images" / name for name, boxes in labels.items() if bool(boxes) == bool(word == "faces")]
        for word in ("faces", "none")
    }
    for name in CLASSES:
        if name not in wanted:
            continue
        if name == "real":
            shapes = {path: cv2.imread(str(path)).shape for path in of["faces"] if path.stat().st_size > 200_000}
            yield name, [path for path, shape in shapes.items() if shape[0] * shape[1] >= REAL_PIXELS_MIN][:count]
        else:
            megapixels, word = name.split("-")
            yield name, make(folder / name, of[word], int(megapixels) * 1.02, count)


# --- ways


def ours(engine: str) -> tuple[str, Way]:
    """Return the default chain, by the name of the engine that finds the faces in it."""
    chain = Chain(parse_steps([f"faces:engine={engine}", "highlight"]))
    spent = stages.Spent()

    def do(path: Path) -> dict[str, float]:
        stages.listener = spent
        spent.reset()
        began = time.process_time()
        data = path.read_bytes()
        read = time.process_time()
        outcome = chain.run(Image(path.as_uri(), data))
        ended = time.process_time()
        stages.listener = None
        found = len(outcome.notes["faces"]) if isinstance(outcome, Keep) else 0
        return {**spent.seconds, "read": read - began, "all": ended - began, "found": found}

    return detector_engine() if engine == "auto" else engine, do


def tutorial() -> Way:
    """Return the tutorials' way."""
    limits["thread"] = 1
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def do(path: Path) -> dict[str, float]:
        times = [time.process_time()]
        data = path.read_bytes()
        times.append(time.process_time())
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        times.append(time.process_time())
        boxes = cascade.detectMultiScale(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), scaleFactor=1.1, minNeighbors=5)
        times += [time.process_time()] * 3
        if len(boxes):
            with MagickImage(blob=data) as image, Drawing() as drawing, Color("#00e640") as line, Color("none") as none:
                drawing.stroke_color, drawing.fill_color, drawing.stroke_width = line, none, 5
                for x, y, w, h in boxes.tolist():
                    drawing.rectangle(left=x, top=y, width=w, height=h)
                drawing(image)
                times[-2:] = [time.process_time()] * 2
                image.compression_quality = 90
                image.make_blob("jpeg")
                times[-1] = time.process_time()
        spent = {stage: after - before for stage, before, after in zip(STAGES, times, times[1:], strict=False)}
        return {**spent, "all": times[-1] - times[0], "found": len(boxes)}

    return do


# --- measuring


def as_a_child() -> None:
    """Set this process up as a worker's child is; both ways gain by it."""
    cv2.setNumThreads(1)
    keep_buffers()


def each_in_turn(paths: list[Path], ways: dict[str, Way], repeat: int, tell: Tell) -> dict[str, list[dict[str, float]]]:
    """Return what each photograph took by each way; "tutorial" goes once, the others ``repeat`` times (the median)."""
    took: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for path in paths:
        for label, way in ways.items():
            runs = [way(path) for _ in range(1 if label == "tutorial" else repeat)]
            took[label].append({key: statistics.median(run.get(key, 0.0) for run in runs) for key in KEYS})
        tell(path.name)
    return took


def figures(source: Path, folder: Path, tell: Tell, count: int = 8, repeat: int = 3) -> Iterator[Figure]:
    """Yield what a photograph of each class costs, beside the tutorials' way, with one value for each photograph."""
    as_a_child()
    engine, way = ours("auto")
    for name, paths in classes(source, folder, count, list(CLASSES)):
        what, goal = CLASSES[name]
        if not paths:
            yield Figure("pictures", name, what, "ms", error="there is none among these photographs")
            continue
        way(paths[0])  # what is loaded late is loaded now
        took = each_in_turn(paths, {"tutorial": tutorial(), engine: way}, repeat, tell)
        theirs, own = ([1000 * run["all"] for run in took[label]] for label in ("tutorial", engine))
        yield Figure(
            "pictures", name, what, "ms", tuple(own), "tutorial", tuple(theirs), Goal(goal) if goal else None,
            less_is_faster=True, note=engine,
        )  # fmt: skip
