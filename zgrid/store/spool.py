"""Images that were put: their bytes are in the ledger itself, and their URI is made of their digest."""

from hashlib import blake2b
from os import fsencode
from urllib.parse import quote_from_bytes

from zgrid.protocol.job import Offer

SCHEME = "put:"

DIGEST_BYTES = 16

NAME_CHARS_MAX = 255
"""What is longer is cut: a name is for people, the digest tells images apart."""

NAMELESS = "image"


def put_offer(name: str, image: bytes) -> Offer:
    """Return the offer of an image that was put: ``put:DIGEST/NAME``. The same bytes and name make the same job."""
    text = quote_from_bytes(fsencode(name[:NAME_CHARS_MAX]), safe="") or NAMELESS
    return Offer(f"{SCHEME}{digest_of(image)}/{text}", len(image), 0)


def digest_of(image: bytes) -> str:
    """Return the 32 hexadecimal digits that name these bytes."""
    return blake2b(image, digest_size=DIGEST_BYTES).hexdigest()


def is_put(uri: str) -> bool:
    """Whether the image of this URI is in the ledger."""
    return uri.startswith(SCHEME)


def is_whole(uri: str, image: bytes) -> bool:
    """Whether these are the bytes that were put under this URI."""
    return uri.startswith(f"{SCHEME}{digest_of(image)}/")
