"""Reading for somebody else: only below named folders, whatever links, dots and special files lie there."""

import errno
import os
import zipfile

import pytest

from zgrid.errors import SourceError
from zgrid.sources import Reader, Roots, path_to_uri, roots
from zgrid.sources.uri import member_to_uri


@pytest.fixture(params=["openat2", "step by step"])
def kernel(request, monkeypatch):
    """The kernel's own way, and that of one that does not have it."""
    if request.param == "step by step":

        def lacks(*_):
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(roots, "system_call", lacks)
    return request.param


@pytest.fixture
def folders(tmp_path):
    """A folder that may be read, with everything that lies about in folders, and one that may not."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "deep").mkdir(parents=True)
    outside.mkdir()
    (inside / "a.jpg").write_bytes(b"picture")
    (inside / "deep" / "b.jpg").write_bytes(b"deep")
    (outside / "secret.jpg").write_bytes(b"secret")
    (inside / "link.jpg").symlink_to("../outside/secret.jpg")
    (inside / "absolute.jpg").symlink_to(outside / "secret.jpg")
    (inside / "folder").symlink_to("../outside")
    (inside / "near.jpg").symlink_to("deep/b.jpg")
    (inside / "loop.jpg").symlink_to("loop.jpg")
    (inside / "process.jpg").symlink_to("/proc/self/environ")
    os.mkfifo(inside / "fifo.jpg")
    for folder in (inside, outside):
        with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
            archive.writestr("../up.jpg", b"member")
    (inside / "linked.zip").symlink_to("../outside/archive.zip")
    return inside, outside


def refusal(reader, uri):
    with pytest.raises(SourceError) as caught:
        reader.read(uri)
    assert caught.value.forbidden is ("--allow" in str(caught.value)), "that says nothing of the image"
    return str(caught.value), caught.value.transient


def test_what_is_below_is_read(folders, kernel):
    """Files below a root, by whatever depth, and members of archives there, whatever they are called."""
    inside, _ = folders
    with Reader(roots=Roots([os.fsencode(inside)])) as reader:
        assert reader.read(path_to_uri(str(inside / "a.jpg")), 7) == b"picture"
        assert reader.read(path_to_uri(str(inside / "deep" / "b.jpg"))) == b"deep"
        assert reader.read(member_to_uri("zip", str(inside / "archive.zip"), "../up.jpg")) == b"member"
        if kernel == "openat2":
            assert reader.read(path_to_uri(str(inside / "near.jpg"))) == b"deep"


@pytest.mark.parametrize(
    "name", ["link.jpg", "absolute.jpg", "folder/secret.jpg", "process.jpg", "loop.jpg", "linked.zip"]
)
def test_links_out_are_not_followed(folders, kernel, name):
    """A link out of the root, of a file, a folder or an archive, is refused; another worker may be allowed more."""
    inside, _ = folders
    with Reader(roots=Roots([os.fsencode(inside)])) as reader:
        uri = path_to_uri(str(inside / name))
        sentence, transient = refusal(reader, uri if name != "linked.zip" else f"zip:{uri}!/../up.jpg")
        assert "leads out of what this worker may read" in sentence
        assert transient


def test_what_is_elsewhere_is_not_opened(folders, kernel):
    """Another folder, a neighbour whose name begins alike, dots in any writing, and special files."""
    inside, outside = folders
    (outside.parent / "inside2").mkdir()
    (outside.parent / "inside2" / "c.jpg").write_bytes(b"c")
    with Reader(roots=Roots([os.fsencode(inside)])) as reader:
        for path in (outside / "secret.jpg", outside.parent / "inside2" / "c.jpg", "/etc/passwd", "/proc/self/environ"):
            sentence, transient = refusal(reader, path_to_uri(str(path)))
            assert "may read (--allow)" in sentence
            assert transient
        for dots in ("..", "%2e%2e", "deep/../.."):
            sentence, transient = refusal(reader, f"{path_to_uri(str(inside))}/{dots}/outside/secret.jpg")
            assert ".. in its path" in sentence
            assert not transient
        assert "is not a file" in refusal(reader, path_to_uri(str(inside / "fifo.jpg")))[0]
        assert "is not a file" in refusal(reader, path_to_uri(str(inside)))[0]


def test_devices_and_what_the_kernel_makes_up(kernel):
    """With / allowed, devices are no files, and /proc's files have no bytes that anybody could have accepted."""
    with Reader(roots=Roots([b"/"])) as reader:
        assert "is not a file" in refusal(reader, "file:///dev/zero")[0]
        with pytest.raises(SourceError):
            reader.read("file:///proc/self/environ", 100)


def test_a_single_file_may_be_allowed(folders, kernel):
    """An archive as a root, and nothing beside it."""
    inside, _ = folders
    archive = str(inside / "archive.zip")
    with Reader(roots=Roots([os.fsencode(archive)])) as reader:
        assert reader.read(member_to_uri("zip", archive, "../up.jpg")) == b"member"
        assert "--allow" in refusal(reader, path_to_uri(str(inside / "a.jpg")))[0]


def test_without_roots_nothing_is_read(folders):
    """One sentence says what is missing, and the job may go to another worker."""
    inside, _ = folders
    with Reader(roots=Roots([])) as reader:
        sentence, transient = refusal(reader, path_to_uri(str(inside / "a.jpg")))
        assert "reads no files: give it --allow" in sentence
        assert transient


def test_links_may_be_allowed(folders):
    """Where the operator says that links are his own, they are followed; dots and other folders still are not."""
    inside, outside = folders
    with Reader(roots=Roots([os.fsencode(inside)], links=True)) as reader:
        assert reader.read(path_to_uri(str(inside / "link.jpg"))) == b"secret"
        assert reader.read(path_to_uri(str(inside / "folder" / "secret.jpg"))) == b"secret"
        assert "--allow" in refusal(reader, path_to_uri(str(outside / "secret.jpg")))[0]


def test_a_folder_that_becomes_a_link_is_noticed(folders, kernel):
    """What is resolved is what is there now: a folder that a stranger has replaced by a link leads nowhere."""
    inside, outside = folders
    with Reader(roots=Roots([os.fsencode(inside)])) as reader:
        uri = path_to_uri(str(inside / "deep" / "b.jpg"))
        assert reader.read(uri) == b"deep"
        (inside / "deep" / "b.jpg").unlink()
        (inside / "deep").rmdir()
        (outside / "b.jpg").write_bytes(b"other")
        (inside / "deep").symlink_to(outside)
        assert "leads out" in refusal(reader, uri)[0]


def test_no_descriptor_is_left(folders, kernel):
    """Refusals and reads leave nothing open."""
    inside, outside = folders
    before = len(os.listdir("/proc/self/fd"))
    with Reader(roots=Roots([os.fsencode(inside)])) as reader:
        for name in ("link.jpg", "fifo.jpg", "gone.jpg", "gone/a.jpg", "a.jpg/b.jpg", "folder/secret.jpg"):
            refusal(reader, path_to_uri(str(inside / name)))
        refusal(reader, path_to_uri(str(outside / "secret.jpg")))
        reader.read(path_to_uri(str(inside / "a.jpg")))
    assert len(os.listdir("/proc/self/fd")) == before
