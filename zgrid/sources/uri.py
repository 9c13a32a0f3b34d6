"""The names of images: ``file:///a/b.jpg``, ``zip:file:///a.zip!/b.jpg`` and ``tar:file:///a.tar.gz!/b.jpg``.

Everything but letters, digits and ``/ - . _ ~`` is percent-encoded byte by byte, so a name in any encoding survives,
and ``!/`` can only be the seam between an archive and the name inside it.
"""

import os
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from zgrid.errors import SourceError

_FILE = "file://"
_SEAM = "!/"


class Place(NamedTuple):
    """Where an image is: a path, and inside an archive (``kind`` zip or tar) the name of the member."""

    path: bytes
    kind: str | None = None
    member: str | None = None


def path_to_uri(path: bytes | str) -> str:
    """Return the file URI of an absolute path; bytes that are not UTF-8 survive."""
    return _FILE + quote_from_bytes(os.fsencode(path))


def member_to_uri(kind: str, archive: bytes | str, name: str) -> str:
    """Return the URI of the member ``name`` of the archive (``kind`` is zip or tar) at the absolute path ``archive``.

    The name is a name and nothing more: ``../x`` and ``/x`` stay inside the URI and never become a path.
    """
    quoted = quote_from_bytes(name.encode("utf-8", "surrogateescape"))
    return f"{kind}:{path_to_uri(archive)}{_SEAM}{quoted}"


def uri_to_path(uri: str) -> str:
    """Return the path that a ``file:`` URI names, as ``os.fsdecode`` would give it.

    Raises SourceError when it is not a file URI of this machine.
    """
    place = split_uri(uri)
    if place.kind is not None:
        raise SourceError(f"{uri} is inside an archive and has no path of its own")
    return os.fsdecode(place.path)


def split_uri(uri: str) -> Place:
    """Return where the image named by ``uri`` is. Raises SourceError for any other kind of URI."""
    kind, colon, rest = uri.partition(":")
    if kind in {"zip", "tar"} and colon:
        archive, seam, member = rest.partition(_SEAM)
        if not seam or not member:
            raise SourceError(f"{uri} names no member: write {kind}:file:///archive!/member")
        name = unquote_to_bytes(member).decode("utf-8", "surrogateescape")
        return Place(_file_path(archive, uri), kind, name)
    return Place(_file_path(uri, uri))


def _file_path(file_uri: str, whole: str) -> bytes:
    """Return the path in ``file_uri``, which is ``whole`` or the archive's part of it."""
    if not file_uri.startswith(_FILE):
        raise SourceError(f"{whole} is not a kind of source that zgrid reads: file:, zip:file: or tar:file:")
    host, slash, tail = file_uri[len(_FILE) :].partition("/")
    if host not in {"", "localhost"} or not slash:
        raise SourceError(f"{whole} names a file of another machine: write file:///path")
    path = unquote_to_bytes("/" + tail)
    if b"\0" in path:
        raise SourceError(f"{whole} has a NUL in its path")
    return path
