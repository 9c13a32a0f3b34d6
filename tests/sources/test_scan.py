"""Finding images in folders, files, globs, archives and lists."""

import gzip
import io
import lzma
import os
import socket
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from zgrid.errors import SettingsError, SourceError
from zgrid.protocol.job import Offer
from zgrid.roles.finder import pack, unpack
from zgrid.sources import Passed, Reader, path_to_uri, read, roots_of, scan
from zgrid.store.pictures import Pictures

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


def offers(*specs, **more):
    """Return the URIs that a scan offers, in order."""
    return [found.uri for found in scan([os.fspath(spec) for spec in specs], **more) if isinstance(found, Offer)]


def passed(*specs, **more):
    """Return {last part of the URI: reason} of what a scan passes over."""
    found = scan([os.fspath(spec) for spec in specs], **more)
    return {one.uri.rpartition("/")[2]: one.reason for one in found if isinstance(one, Passed)}


def uris(*paths):
    """Return the file URIs of some paths."""
    return [path_to_uri(os.fspath(path)) for path in paths]


@pytest.fixture
def tree(tmp_path):
    """A small tree of images and other things."""
    root = tmp_path / "tree"
    (root / "b" / "c").mkdir(parents=True)
    for name in ["z.jpg", "a.png", "b/2.jpg", "b/1.jpg", "b/c/deep.jpg", ".hidden.jpg"]:
        (root / name).write_bytes(JPEG + name.encode())
    (root / "notes.txt").write_bytes(b"hello")
    (root / "empty.jpg").write_bytes(b"")
    return root


def test_folder_is_walked_in_order(tree):
    """Files come sorted, hidden ones too, then the folders; what is no image by content is passed over."""
    names = [".hidden.jpg", "a.png", "z.jpg", "b/1.jpg", "b/2.jpg", "b/c/deep.jpg"]
    assert uris(*[tree / name for name in names]) == offers(tree)
    assert passed(tree) == {"notes.txt": "is not an image", "empty.jpg": "is empty"}


def test_offer_tells_size_and_time(tree):
    """An offer has the size in bytes and the time of change in ns that the file system has."""
    os.utime(tree / "z.jpg", ns=(0, 1_234_567_890_123_456_789))
    assert [Offer(path_to_uri(tree / "z.jpg"), len(JPEG) + 5, 1_234_567_890_123_456_789)] == list(
        scan([str(tree / "z.jpg")])
    )


def test_name_says_nothing(tmp_path):
    """An image called .txt is offered, a text called .jpg is not."""
    (tmp_path / "image.txt").write_bytes(JPEG)
    (tmp_path / "text.jpg").write_bytes(b"P1 is not always a bitmap; this is a text")
    assert uris(tmp_path / "image.txt") == offers(tmp_path)


@pytest.mark.parametrize("spec", ["", "nowhere", "no*thing", "dangling", "closed", "a\0b"])
def test_bad_spec_is_refused_before_anything_is_yielded(tmp_path, monkeypatch, spec):
    """A spec that cannot work is the operator's error, raised by the call itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.jpg").write_bytes(JPEG)
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "closed").mkdir(mode=0o000)
    if spec == "closed" and os.access("closed", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(SettingsError):
        scan(["good.jpg", spec])


def test_no_spec_and_unusable_stdin_are_refused():
    """No source at all, - without a standard input, and - twice are the operator's errors."""
    for specs, stdin in [([], None), (["-"], None), (["-", "-"], io.BytesIO())]:
        with pytest.raises(SettingsError):
            scan(specs, stdin)


def test_folder_loops_survive(tree):
    """Links from a folder to itself, its parents and a sibling end the walk, and each image comes once."""
    (tree / "b" / "up").symlink_to(tree)
    (tree / "b" / "me").symlink_to(".")
    (tree / "side").symlink_to("b")
    assert len(offers(tree)) == 6
    assert len(offers(tree, tree, tree / "b")) == 6


def test_file_reached_twice_is_offered_once(tree):
    """Links to files and overlapping specs do not offer a file again, whichever way comes first."""
    (tree / "b" / "link.jpg").symlink_to(tree / "z.jpg")
    (tree / "alone").mkdir()
    (tree / "alone" / "link.jpg").symlink_to(tree / "b" / "1.jpg")
    assert len(offers(tree)) == 6
    assert len(offers(tree / "z.jpg", tree / "z.jpg", tree)) == 6
    assert len(offers(tree / "alone", tree)) == 6
    assert uris(tree / "alone" / "link.jpg") == offers(tree / "alone", tree / "b" / "1.jpg")


def test_hard_links_are_two_images(tmp_path):
    """Two names of one inode are two images, even when one was given by itself first."""
    (tmp_path / "a.jpg").write_bytes(JPEG)
    os.link(tmp_path / "a.jpg", tmp_path / "b.jpg")
    both = uris(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert set(both) == set(offers(tmp_path / "a.jpg", tmp_path))
    assert both == offers(tmp_path / "a.jpg", tmp_path / "b.jpg")


def test_the_path_is_the_operators(tree, tmp_path):
    """A root that is a link keeps its name in the URIs: a worker elsewhere may know only that one."""
    (tmp_path / "photos").symlink_to(tree)
    assert uris(tmp_path / "photos" / "b" / "1.jpg")[0] in offers(tmp_path / "photos")


def test_dot_dot_through_a_link_is_the_real_file(tree, tmp_path, monkeypatch):
    """link/../x is beside the folder that the link leads to, not beside the link."""
    (tmp_path / "link").symlink_to(tree / "b" / "c")
    monkeypatch.chdir(tmp_path)
    assert uris(tree / "b" / "2.jpg") == offers("link/../2.jpg")
    assert uris(tree / "z.jpg") == offers("tree/b/../z.jpg")


def test_odd_things_are_passed_over(tmp_path):
    """A socket, a fifo, a dangling link and a device do not hang or end a scan."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "x.jpg").write_bytes(JPEG)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        reasons = passed(tmp_path)
    assert reasons == {
        "fifo": "is not a file",
        "sock": "is not a file",
        "gone": "does not exist",
        "null": "is not a file",
    }
    assert uris(tmp_path / "x.jpg") == offers(tmp_path)
    assert passed(tmp_path / "fifo") == {"fifo": "is not a file"}


def test_unreadable_things_are_passed_over(tree):
    """A folder and a file that may not be read are told, and the scan goes on."""
    (tree / "b").chmod(0)
    (tree / "a.png").chmod(0)
    try:
        if os.access(tree / "b", os.R_OK):
            pytest.skip("this user may read everything")
        reasons = passed(tree)
        assert "Permission denied" in reasons["b"]
        assert "Permission denied" in reasons["a.png"]
        assert uris(tree / ".hidden.jpg", tree / "z.jpg") == offers(tree)
    finally:
        (tree / "b").chmod(0o755)


def test_names_that_are_not_text(tmp_path):
    """A name that is not UTF-8, has spaces, percent signs or the archive's seam in it comes back as the same file."""
    names = [b"caf\xe9.jpg", b"a b%20c#d?.jpg", b"x!", "Zoë.jpg".encode(), b"new\nline.jpg"]
    (tmp_path / "x!").mkdir()
    for name in [*names[:2], b"x!/y.jpg", *names[3:]]:
        (tmp_path / os.fsdecode(name)).write_bytes(JPEG + name)
    found = offers(tmp_path)
    assert {JPEG + name for name in [*names[:2], b"x!/y.jpg", *names[3:]]} == {read(uri) for uri in found}
    assert all(uri.isascii() and "!" not in uri and "\n" not in uri for uri in found)


def test_too_large_is_passed_over(tree):
    """With a limit, a larger file is told with its size instead of being offered."""
    (tree / "big.jpg").write_bytes(JPEG + bytes(1000))
    assert passed(tree, size_bytes_max=1000)["big.jpg"] == "has 1064 bytes, more than 1000"


def test_what_may_be_an_image_is_told_apart(tmp_path):
    """A large image, a damaged archive and a dangling link are unread; text, an empty file and a fifo hold nothing."""
    (tmp_path / "big.jpg").write_bytes(JPEG + bytes(1000))
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "fifo")
    found = {one.uri.rpartition("/")[2]: one.unread for one in scan([str(tmp_path)], size_bytes_max=1000)}
    assert [name for name, unread in found.items() if unread] == ["big.jpg", "cut.zip", "gone"]
    assert len(found) == 6


def test_globs(tree, monkeypatch):
    """Globs work, ** and folders too, and a file that is called like a glob is that file."""
    monkeypatch.chdir(tree)
    assert uris(tree / "b" / "1.jpg", tree / "b" / "2.jpg") == sorted(offers("b/*.jpg"))
    assert len(offers("**/*.jpg")) == 5
    assert len(offers("**")) == 6
    (tree / "[1].jpg").write_bytes(JPEG)
    assert uris(tree / "[1].jpg") == offers("[1].jpg")


def test_home_is_known(tree, monkeypatch):
    """A ~ that no shell has replaced (from a TOML file) is the home folder."""
    monkeypatch.setenv("HOME", str(tree))
    assert uris(tree / "z.jpg") == offers("~/z.jpg")


@pytest.mark.parametrize("separator", [b"\n", b"\0"])
def test_list_on_stdin(tree, separator, monkeypatch):
    """Paths come one for each line or NUL, relative ones too; folders are walked; missing ones are told."""
    monkeypatch.chdir(tree)
    lines = [b"z.jpg", b"b/c", b"", os.fsencode(tree / "a.png"), b"gone.jpg", b"z.jpg"]
    assert uris(tree / "z.jpg", tree / "b" / "c" / "deep.jpg", tree / "a.png") == offers(
        "-", stdin=io.BytesIO(separator.join(lines))
    )
    assert passed("-", stdin=io.BytesIO(separator.join(lines))) == {"gone.jpg": "does not exist"}


def test_list_as_text_and_without_an_end(tree):
    """A text stream works as a binary one, and the last line needs no end."""
    assert uris(tree / "z.jpg") == offers("-", stdin=io.StringIO(f"{tree}/z.jpg"))
    assert uris(tree / "z.jpg") == offers("-", stdin=io.TextIOWrapper(io.BytesIO(f"{tree}/z.jpg\n".encode())))


class Pieces(io.RawIOBase):
    """A stream that gives one piece after the other, made only when it is read."""

    def __init__(self, pieces):
        self._pieces = iter(pieces)

    def read1(self, size):
        return next(self._pieces, b"")


def test_list_with_an_endless_line(tree):
    """A line of many megabytes is told and dropped, with memory flat, and the next one is used."""
    stream = Pieces([*[b"x" * 65_536] * 500, b"\n" + os.fsencode(tree / "z.jpg")])
    tracemalloc.start()
    try:
        assert [type(one) for one in scan(["-"], stream)] == [Passed, Offer]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_nul_list_keeps_newlines(tmp_path):
    """Where NULs end the paths, a newline is part of a name."""
    path = tmp_path / "a\nb.jpg"
    path.write_bytes(JPEG)
    assert uris(path) == offers("-", stdin=io.BytesIO(os.fsencode(path) + b"\0"))


def test_file_that_goes_while_the_scan_runs(tree):
    """A file that is gone between the listing and the look is told."""
    running = scan([str(tree)])
    next(running)
    (tree / "z.jpg").unlink()
    assert "does not exist" in [one.reason for one in running if isinstance(one, Passed)]


def test_archives_in_a_folder(tmp_path):
    """A zip and a tar in a folder are walked one level deep, in their own order, whatever they are called."""
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as made:
        made.writestr("sub/two.jpg", JPEG)
        made.writestr("one.png", PNG)
        made.writestr("text.txt", "hello")
        made.writestr("empty", "")
        made.writestr("folder/", "")
        made.writestr("inner.zip", b"PK\x03\x04" + bytes(600))
    for mode in ["", "gz", "bz2", "xz"]:
        with tarfile.open(tmp_path / f"t{mode}", f"w:{mode}") as made:
            info = tarfile.TarInfo("pics/x.jpg")
            info.size, info.mtime = len(JPEG), 1_000_000
            made.addfile(info, io.BytesIO(JPEG))
    zipped = [f"zip:{path_to_uri(tmp_path / 'a.bin')}!/{name}" for name in ["sub/two.jpg", "one.png"]]
    tarred = [f"tar:{path_to_uri(tmp_path / name)}!/pics/x.jpg" for name in ["t", "tbz2", "tgz", "txz"]]
    assert zipped + tarred == offers(tmp_path)
    assert [found.mtime_ns for found in scan([str(tmp_path)]) if found[0] in tarred] == [1_000_000 * 10**9] * 4
    reasons = passed(tmp_path)
    assert reasons.pop("inner.zip").startswith("is an archive inside an archive")
    assert reasons == {"text.txt": "is not an image", "empty": "is empty"}


def test_plain_gzip_is_not_an_archive(tmp_path):
    """A compressed text is passed over as not an image, not as damaged."""
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"hello" * 1000))
    (tmp_path / "short.gz").write_bytes(gzip.compress(b"hello"))
    assert passed(tmp_path) == {"log.gz": "is not an image", "short.gz": "is not an image"}


def test_memory_is_flat(tmp_path):
    """A scan of twenty thousand files holds one folder's names, not the files: well below 2 MB."""
    for number in range(20):
        folder = tmp_path / f"{number:02d}"
        folder.mkdir()
        (folder / "0").write_bytes(JPEG)
        for other in range(1, 1000):
            os.link(folder / "0", folder / str(other))
    tracemalloc.start()
    try:
        assert sum(1 for _ in scan([str(tmp_path)])) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("inf", (1 << 63) - 1), ("1e300", (1 << 63) - 1), ("-inf", -(1 << 63)), (1 << 80, (1 << 63) - 1),
        ("1234567890.123456789", round(1234567890.123456789 * 1e9)), ("-5", -5_000_000_000), ("nan", 0),
    ],
)  # fmt: skip
def test_a_date_in_a_tar_may_be_anything(tmp_path, said, expected):
    """A job's time of change fits into 64 bits; one that is no number is 0."""
    is_gnu = type(said) is int
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT if is_gnu else tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(JPEG)
        if is_gnu:
            info.mtime = said
        else:
            info.pax_headers = {"mtime": said}
        made.addfile(info, io.BytesIO(JPEG))
    (tmp_path / "b.jpg").write_bytes(JPEG)
    found = list(scan([str(tmp_path)]))
    assert [one.mtime_ns for one in found if isinstance(one, Offer)][:-1] == [expected]
    assert found[-1].uri == path_to_uri(tmp_path / "b.jpg")
    assert unpack(pack(found)[4:])


def test_an_archive_that_asks_for_gigabytes(tmp_path):
    """An .xz says how large its dictionary is: 4 GiB in one of a few bytes; the search goes on without it."""
    packed = bytearray(lzma.compress(tarfile.TarInfo("a.jpg").tobuf() + bytes(1024)))
    assert packed[14:16] == b"\x21\x01", "the filter and the length of what it is told"
    packed[16] = 40
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    (tmp_path / "a.tar.xz").write_bytes(packed)
    (tmp_path / "b.jpg").write_bytes(JPEG)
    code = (
        "import resource, sys; from zgrid.sources import scan; resource.setrlimit(resource.RLIMIT_AS, (1 << 30,) * 2)\n"
        "for found in scan([sys.argv[1]]): print(found)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    archive, image = done.stdout.splitlines()
    assert "more memory to read than there is" in archive
    assert "b.jpg" in image


def test_a_date_far_ahead(tmp_path):
    """A file of the year 2300 is offered with the last time that jobs can have, and read again with it."""
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    os.utime(path, ns=(0, 10_413_792_000_000_000_000))
    if path.stat().st_mtime_ns < 1 << 63:
        pytest.skip("this file system has no such dates")
    (found,) = scan([str(path)])
    assert found.mtime_ns == (1 << 63) - 1
    with Reader() as reader:
        assert reader.read(*found) == JPEG
        with pytest.raises(SourceError, match="has changed"):
            reader.read(found.uri, found.size, found.mtime_ns - 1)


def test_scan_is_lazy(tmp_path):
    """A scan yields its first image long before it has seen the last folder."""
    for name in ["a", "b"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(JPEG)
    running = scan([str(tmp_path)])
    assert next(running).uri == uris(tmp_path / "a" / "x.jpg")[0]
    (tmp_path / "b" / "y.jpg").write_bytes(JPEG)
    assert [Path(found.uri).name for found in running] == ["x.jpg", "y.jpg"]


def test_pictures_that_zgrid_made_are_no_sources(tmp_path, monkeypatch):
    """Results among the photographs are not taken for photographs, by a walk or a glob, unless they are named."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "faces/pictures/ab/abcd.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(JPEG)
    Pictures(tmp_path / "faces" / "pictures").close()
    assert offers(".") == offers("**/*.jpg") == uris(tmp_path / "a.jpg")
    assert passed(".")["pictures"] == "is a folder of pictures that zgrid made"
    assert offers("faces/pictures") == uris(tmp_path / "faces/pictures/ab/abcd.jpg")


def test_roots_of_sources(tree, monkeypatch):
    """Everything that a spec can name lies at or below its root; a list on standard input may name anything."""
    monkeypatch.chdir(tree)
    (tree / "pack.zip").write_bytes(b"PK")
    assert roots_of([str(tree), "pack.zip", f"{tree}/**/*", "*", "-"]) == [
        str(tree), str(tree / "pack.zip"), str(tree), str(tree), "/"
    ]  # fmt: skip
    with pytest.raises(SettingsError, match="does not exist"):
        roots_of(["gone"])
