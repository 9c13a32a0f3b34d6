"""Reading a file into memory that the caller has made, so that it need not be copied from one place to the next."""

import pytest

from zgrid.errors import SourceError
from zgrid.sources import Reader, path_to_uri

IMAGE = b"\xff\xd8\xff\xe0" + bytes(range(200))


def test_room_of_the_readers_choice(tmp_path):
    """A file is read into the memory that the reader was given, whole or not at all."""
    path = tmp_path / "a.jpg"
    path.write_bytes(IMAGE)
    rooms = []

    def room(size):
        rooms.append(memoryview(bytearray(size)))
        return rooms[-1]

    with Reader() as reader:
        version = path_to_uri(path), len(IMAGE), path.stat().st_mtime_ns
        assert reader.read(*version, room) is rooms[0]
        assert rooms[0] == IMAGE
        path.write_bytes(b"")
        assert reader.read(path_to_uri(path), None, None, room) == b""


@pytest.mark.parametrize("change", [b"", IMAGE[:50], IMAGE + b"more"])
def test_file_that_changes_while_it_is_read_into_room(tmp_path, change):
    """What grew or shrank after it was looked at is never returned, in no kind of memory."""
    path = tmp_path / "a.jpg"
    path.write_bytes(IMAGE)

    def room(size):
        path.write_bytes(change)
        return memoryview(bytearray(size))

    with Reader() as reader, pytest.raises(SourceError, match="changed while it was read"):
        reader.read(path_to_uri(path), None, None, room)
