"""Small good pictures of every format, to be spoiled."""

import functools
import io

import numpy as np
import PIL.Image

SIDE_PX = 48
SEED = 20261127


@functools.cache
def good(name):
    """Return a small good picture of a format of Pillow's."""
    picture = PIL.Image.fromarray(np.random.default_rng(SEED).integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8))
    out = io.BytesIO()
    options = {"TIFF": {"compression": "tiff_lzw"}, "AVIF": {"quality": 60}, "JPEG": {"quality": 80}}
    picture.save(out, name, **options.get(name, {}))
    return out.getvalue()


ENDS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "TIFF": "tif",
    "BMP": "bmp",
    "WEBP": "webp",
    "PPM": "ppm",
    "AVIF": "avif",
}


def saved(picture, name, **options):
    """Return a picture of Pillow's as a file."""
    out = io.BytesIO()
    picture.save(out, name, **options)
    return out.getvalue()
