"""A filter whose picture and notes are made of the image's bytes, so that each result can be told from all others."""

from hashlib import blake2b, shake_128

import cv2
import numpy as np

from zgrid.filters import Image, Keep, Outcome, filter  # noqa: A004  the decorator is called so

SIDE_PX = 24


def proof_of(data):
    """Return the digits that the notes have of these bytes."""
    return blake2b(data, digest_size=16).hexdigest()


def pixels_of(data):
    """Return the pixels of the picture that is made of these bytes."""
    noise = shake_128(data).digest(SIDE_PX * SIDE_PX * 3)
    return np.frombuffer(noise, np.uint8).reshape(SIDE_PX, SIDE_PX, 3)


@filter("derived", "1")
def derived(image: Image) -> Outcome:
    """Return a picture that only this image can have."""
    image.header  # noqa: B018  what is looked at has its digest in the row
    _, picture = cv2.imencode(".png", pixels_of(image.data))
    return Keep({"proof": proof_of(image.data)}, picture.tobytes(), "image/png")
