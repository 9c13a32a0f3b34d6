"""The filter ``null``: keeps every image as a row without a picture, for measuring and testing the grid itself."""

from zgrid.filters.image import Image
from zgrid.filters.outcome import Keep, Outcome
from zgrid.filters.registry import filter  # noqa: A004  the decorator is called so

_KEPT = Keep()


@filter("null", "1")
def null(image: Image) -> Outcome:  # noqa: ARG001  every filter is given the image
    """Keep the image and touch nothing of it: an image by reference is not even read."""
    return _KEPT
