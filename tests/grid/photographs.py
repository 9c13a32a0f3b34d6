"""Photographs for the grid's tests: those that packages ship and, where there are some, real ones with labels."""

import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np

MARK = b"\nzgrid-test: "
"""Stands before the words that the filter ``marked`` of the filters for tests obeys."""

SHIPPED = {
    "skimage": ["data/astronaut.png", "data/coffee.png", "data/chelsea.png", "data/rocket.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
}
BYTES_MAX = 300_000
"""A test has many photographs and little time: larger ones are left out."""


def shipped():
    """Return the pixels of the photographs that installed packages ship, those with a face first."""
    found = []
    for package, files in SHIPPED.items():
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            found += [cv2.imread(str(path)) for file in files if (path := Path(place) / file).is_file()]
    return found


def labelled():
    """Return the files of labelled photographs: in ZGRID_FACES, or in shared/faces beside the checkout; may be none."""
    named = os.environ.get("ZGRID_FACES")
    folder = Path(named) if named else Path(__file__).parents[3] / "shared" / "faces"
    if not (folder / "labels.json").is_file():
        return []
    files = [folder / "images" / name for name in sorted(json.loads((folder / "labels.json").read_text()))]
    return [path for path in files if path.stat().st_size <= BYTES_MAX]


def write(folder, count):
    """Write ``count`` distinct photographs, JPEG and PNG, into ``folder``: at most half of them as they are in a set of
    labelled ones, the rest made of those that packages ship. Return whether that was possible.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real = labelled()
    originals = shipped() or [pixels for path in real[:8] if (pixels := cv2.imread(str(path))) is not None]
    if not originals:
        return False
    real = real[:: max(1, len(real) * 2 // count)][: count // 2]
    for path in real:
        (folder / path.name).write_bytes(path.read_bytes())
    for number in range(count - len(real)):
        pixels = varied(originals[number % len(originals)], number // len(originals))
        kind = "png" if number % 7 == 3 else "jpg"
        assert cv2.imwrite(str(folder / f"made-{number:04d}.{kind}"), pixels)
    return True


def varied(pixels, number):
    """Return variation ``number`` of a photograph: mirrored, cropped, brightened and resized, each one differently."""
    chance = np.random.default_rng(number)
    height, width = pixels.shape[:2]
    if number % 2:
        pixels = pixels[:, ::-1]
    left, top = int(width * 0.08 * chance.random()), int(height * 0.08 * chance.random())
    pixels = cv2.convertScaleAbs(pixels[top:, left:], alpha=0.8 + 0.4 * chance.random(), beta=20 * chance.random())
    longest = int(240 + 240 * chance.random())
    scale = longest / max(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def tiny(folder, count, words="", name="tiny"):
    """Write ``count`` JPEG files of a few hundred bytes, marked with ``words`` if there are any; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()
    paths = [folder / f"{name}-{number:05d}.jpg" for number in range(count)]
    for path in paths:
        path.write_bytes(data + (MARK + words.encode() if words else b""))
    return paths
