"""Images made for the tests: one scene whose four corners differ, in every format that the filters must take."""

import importlib.util
import io
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageCms

WIDTH, HEIGHT = 96, 64
CORNERS = {"red": (0, 0, 255), "green": (0, 200, 0), "blue": (255, 0, 0), "yellow": (0, 220, 220)}
"""BGR of the upper left, upper right, lower left and lower right corner of the upright scene."""


def scene(width=WIDTH, height=HEIGHT):
    """Return an upright BGR scene: each quarter has its own colour, so that any turn can be told from any other."""
    pixels = np.empty((height, width, 3), np.uint8)
    red, green, blue, yellow = CORNERS.values()
    pixels[: height // 2, : width // 2], pixels[: height // 2, width // 2 :] = red, green
    pixels[height // 2 :, : width // 2], pixels[height // 2 :, width // 2 :] = blue, yellow
    return pixels


def pillow(pixels):
    """Return BGR pixels as a Pillow image."""
    return PIL.Image.fromarray(np.ascontiguousarray(pixels[:, :, ::-1]))


def saved(image, name, **options):
    """Return a Pillow image as a file's bytes."""
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def reopened(data):
    """Return the Pillow image of a file's bytes, decoded."""
    image = PIL.Image.open(io.BytesIO(data))
    image.load()
    return image


def exif(orientation):
    """Return an EXIF object with an orientation and a maker."""
    tags = PIL.Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "zgrid"
    return tags


def as_stored(upright, orientation):
    """Return Pillow's own idea of how an upright picture is stored with this orientation: the undoing of its turn."""
    back = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_90,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_270,
    }
    return upright.transpose(back[orientation]) if orientation in back else upright


@cache  # it has the second of its making in it
def profile():
    """Return the bytes of an sRGB colour profile."""
    return PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def deep_png(channels):
    """Return the scene as a PNG of 16 bits per channel; four channels have full alpha."""
    pixels = scene().astype(np.uint16) * 257
    if channels == 1:
        pixels = pixels[:, :, 2]
    elif channels == 4:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 65535, np.uint16)])
    return cv2.imencode(".png", pixels)[1].tobytes()


def every_kind():
    """Return {description: file} of the scene in all formats and modes that are supported."""
    image = pillow(scene())
    clear = image.convert("RGBA")
    clear.putalpha(255)
    return {
        "jpeg": saved(image, "JPEG", quality=95),
        "jpeg progressive": saved(image, "JPEG", quality=95, progressive=True),
        "jpeg cmyk": saved(image.convert("CMYK"), "JPEG", quality=95),
        "png": saved(image, "PNG"),
        "png palette": saved(image.quantize(16), "PNG"),
        "png alpha": saved(clear, "PNG"),
        "png 16 bit": deep_png(3),
        "png 16 bit alpha": deep_png(4),
        "webp": saved(image, "WEBP", quality=95),
        "webp alpha": saved(clear, "WEBP", quality=95),
        "gif": saved(image.quantize(16), "GIF"),
        "gif of two": saved(image.quantize(16), "GIF", save_all=True, append_images=[pillow(255 - scene())]),
        "tiff": saved(image, "TIFF"),
        "tiff lzw": saved(image, "TIFF", compression="tiff_lzw"),
        "tiff cmyk": saved(image.convert("CMYK"), "TIFF"),
        "bmp": saved(image, "BMP"),
        "ppm": saved(image, "PPM"),
    }


def every_grey():
    """Return {description: file} of the scene without its colours, in all modes that are supported."""
    grey = pillow(scene()).convert("L")
    deep = PIL.Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "jpeg grey": saved(grey, "JPEG", quality=95),
        "png grey": saved(grey, "PNG"),
        "png grey alpha": saved(grey.convert("LA"), "PNG"),
        "png grey 16 bit": saved(deep, "PNG"),
        "tiff grey 16 bit": saved(deep, "TIFF"),
        "tiff grey float": saved(PIL.Image.fromarray(np.asarray(grey).astype(np.float32) / 255), "TIFF"),
    }


def shipped(name):
    """Return the path of a photograph that another package ships, None when that is not installed."""
    for package, folder in {"skimage": "data", "matplotlib": "mpl-data/sample_data"}.items():
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(place) / folder / name).is_file():
                return path
    return None


def portrait():
    """Return the path of a photograph with one face, None when there is none."""
    return shipped("astronaut.png") or shipped("grace_hopper.jpg")
