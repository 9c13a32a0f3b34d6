"""Pictures that are strange, and pictures all the same."""

import functools
import random

import cv2
import numpy as np
import PIL.Image
from bad_jpegs import empty_scan, jpeg, segment
from bad_others import bmp
from bad_tiffs import grey_tiff
from good_files import SEED, good, saved
from strange_files import PHP, archive


@functools.cache
def odd_files():
    """Return name -> bytes of pictures that are strange and can be looked at."""
    rng = np.random.default_rng(SEED)
    colour = rng.integers(0, 255, (60, 80, 3), np.uint8)
    picture = PIL.Image.fromarray(colour)
    turned = [picture.rotate(5 * number) for number in range(1, 31)]
    return {
        "no-huffman-tables.jpg": jpeg(drop=(0xC4,)),
        "scan-is-empty.jpg": jpeg({0xDA: empty_scan()}),
        "segment-length-0.jpg": jpeg(before=b"\xff\xe1\0\0"),
        "bits-none.tif": grey_tiff(t258=(3, 0, 0)),
        "bits-2-to-28-times.tif": grey_tiff(t258=(3, 1 << 28, 1024)),
        "strip-2-to-31-bytes.tif": grey_tiff(t279=(4, 1, 0x7FFFFFFF), t257=(4, 1, 4000)),
        "one-pixel.png": saved(picture.resize((1, 1)), "PNG"),
        "one-pixel.jpg": saved(picture.resize((1, 1)), "JPEG"),
        "1-wide.png": saved(picture.resize((1, 20000)), "PNG"),
        "1-high.jpg": saved(picture.resize((20000, 1)), "JPEG"),
        "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
        "cmyk.tif": saved(picture.convert("CMYK"), "TIFF"),
        "lab.tif": saved(picture.convert("LAB"), "TIFF"),
        "float.tif": saved(PIL.Image.fromarray(rng.normal(0, 1e30, (60, 80)).astype(np.float32)), "TIFF"),
        "not-a-number.tif": saved(PIL.Image.fromarray(np.full((60, 80), np.nan, np.float32)), "TIFF"),
        "32-bits.tif": saved(PIL.Image.fromarray(rng.integers(-9, 9, (60, 80), np.int32)), "TIFF"),
        "16-bits.png": cv2.imencode(".png", colour.astype(np.uint16) * 257)[1].tobytes(),
        "16-bits-alpha.png": cv2.imencode(".png", np.dstack([colour, colour[:, :, :1]]).astype(np.uint16) * 257)[
            1
        ].tobytes(),
        "16-bits-grey.png": cv2.imencode(".png", colour[:, :, 0].astype(np.uint16) * 257)[1].tobytes(),
        "palette.png": saved(picture.convert("P"), "PNG"),
        "palette-transparent.png": saved(picture.convert("P"), "PNG", transparency=3),
        "bits.png": saved(picture.convert("1"), "PNG"),
        "moving.gif": saved(picture, "GIF", save_all=True, append_images=turned[:30]),
        "moving.webp": saved(picture, "WEBP", save_all=True, append_images=turned[:10]),
        "moving.png": saved(picture, "PNG", save_all=True, append_images=turned[:10]),
        "pages.tif": saved(picture, "TIFF", save_all=True, append_images=[picture] * 20),
        "upside-down.bmp": bmp(48, -48),
        "exif-is-noise.jpg": jpeg(before=segment(0xE1, b"Exif\0\0" + random.Random(9).randbytes(2000))),
        "icc-is-noise.jpg": jpeg(before=segment(0xE2, b"ICC_PROFILE\0\x01\x01" + random.Random(9).randbytes(2000))),
        "php-behind.jpg": good("JPEG") + PHP,
        "zip-behind.png": good("PNG") + archive("zip"),
        "script-in-comment.jpg": jpeg(before=segment(0xFE, PHP)),
        "scan-of-noise.jpg": good("JPEG")[:-60] + random.Random(1).randbytes(58).replace(b"\xff", b"\0") + b"\xff\xd9",
    }
