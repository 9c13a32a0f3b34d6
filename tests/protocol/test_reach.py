"""What a worker reads itself, told by names alone."""

import pytest

from zgrid.protocol.reach import Reach

PLACES = ["file:///photos", "file:///srv/old%20ones.zip"]


@pytest.mark.parametrize(
    ("uri", "is_there"),
    [
        ("file:///photos/a.jpg", True),
        ("file:///photos/2024/a.jpg", True),
        ("zip:file:///photos/a.zip!/b.jpg", True),
        ("tar:file:///photos/a.tar.gz!/b.jpg", True),
        ("zip:file:///srv/old%20ones.zip!/b.jpg", True),
        ("file:///photos", True),
        ("file:///photos-of-others/a.jpg", False),
        ("file:///srv/old%20ones.zip2", False),
        ("zip:file:///srv/x.zip!/photos/a.jpg", False),
        ("zip:file:///x!/file:///photos/a.jpg", False),
        ("put:0123/a.jpg", False),
        ("", False),
    ],
)
def test_what_is_below(uri, is_there):
    """A name is below a place when it goes on with a slash; an archive's member is where the archive is."""
    assert (uri in Reach(PLACES)) is is_there
    assert is_there or not Reach(PLACES).holds([uri])


def test_many_at_once():
    """Files below the places are surely there, all of them; of an archive's members it is not said at once."""
    inside = ["file:///photos/a.jpg", "file:///photos/2024/a.jpg"]
    assert Reach(PLACES).holds(inside)
    assert not Reach(PLACES).holds([*inside, "file:///photos-of-others/a.jpg"])
    assert not Reach(PLACES).holds([*inside, "zip:file:///photos/a.zip!/b.jpg"])
    assert not Reach().holds(inside)


def test_the_root_and_nothing():
    """Everything is below /, and nothing below no place."""
    assert "file:///a.jpg" in Reach(["file:///"])
    assert "tar:file:///a.tar!/b.jpg" in Reach(["file:///"])
    assert "file:///a.jpg" not in Reach()
