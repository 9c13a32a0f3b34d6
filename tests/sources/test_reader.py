"""Reading images by URI, from files and from archives that may be hostile."""

import bz2
import gzip
import io
import os
import random
import re
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
from contextlib import suppress

import pytest

from zgrid.errors import SourceError
from zgrid.protocol.job import Offer
from zgrid.sources import Passed, Reader, archive, member_to_uri, path_to_uri, read, scan, uri_to_path

JPEG = b"\xff\xd8\xff\xe0" + bytes(60)


def jpeg(number):
    """Return an image of its own length and content."""
    return JPEG + bytes([number % 256]) * (100 + number * 7)


def make_tar(path, members, mode="w"):
    """Write a tar of {name: bytes}."""
    with tarfile.open(path, mode) as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))


def make_zip(path, members):
    """Write a zip of {name: bytes}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)


def refusal(uri, *more, **named):
    """Return the error of reading ``uri``."""
    with Reader(*more) as reader, pytest.raises(SourceError) as caught:
        reader.read(uri, **named)
    return caught.value


def troubles(path):
    """Return the reasons for which a scan of ``path`` passes something over."""
    return [found.reason for found in scan([str(path)]) if isinstance(found, Passed)]


def test_plain_file(tmp_path):
    """A file comes back whole; a link to it too."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(5))
    (tmp_path / "link").symlink_to(path)
    assert jpeg(5) == read(path_to_uri(path), len(jpeg(5)))
    assert jpeg(5) == read(path_to_uri(tmp_path / "link"))
    assert str(path) == uri_to_path(path_to_uri(path))


def test_changed_file_is_refused(tmp_path):
    """Another size than was accepted is told with both sizes; another time of change too."""
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    error = refusal(path_to_uri(path), size=10)
    assert "has changed since it was accepted (10 bytes then, 64 now)" in str(error)
    assert not error.transient
    assert "written again" in str(refusal(path_to_uri(path), size=64, mtime_ns=1))
    with Reader() as reader:
        assert reader.read(path_to_uri(path), 64, path.stat().st_mtime_ns) == JPEG


def test_gone_is_permanent_but_an_absent_share_is_not(tmp_path):
    """A file that others are left beside is gone; with its folder missing or empty, trying again may help."""
    (tmp_path / "other.jpg").touch()
    gone = refusal(path_to_uri(tmp_path / "a.jpg"))
    assert str(gone).endswith("a.jpg is gone")
    assert not gone.transient
    (tmp_path / "mount").mkdir()
    for folder in ("share", "mount"):
        away = refusal(path_to_uri(tmp_path / folder / "a.jpg"))
        assert "mounted on this machine" in str(away)
        assert away.transient


def test_what_is_not_a_file_is_refused(tmp_path):
    """A folder and a fifo are refused at once: reading a fifo would hang."""
    os.mkfifo(tmp_path / "fifo")
    assert "is not a file" in str(refusal(path_to_uri(tmp_path / "fifo")))
    assert "is not a file" in str(refusal(path_to_uri(tmp_path)))


def test_limit_holds(tmp_path):
    """Nothing larger than the limit is read, from a file, a zip or a tar."""
    (tmp_path / "a.jpg").write_bytes(bytes(1001))
    make_zip(tmp_path / "z", {"a": bytes(1001)})
    make_tar(tmp_path / "t", {"a": bytes(1001)})
    for uri in [
        path_to_uri(tmp_path / "a.jpg"),
        member_to_uri("zip", tmp_path / "z", "a"),
        member_to_uri("tar", tmp_path / "t", "a"),
    ]:
        assert "at most 1000" in str(refusal(uri, 1000))
        assert len(read(uri, size_bytes_max=1001)) == 1001


@pytest.mark.parametrize(
    "uri",
    [
        "http://host/a.jpg",
        "/a.jpg",
        "file:a.jpg",
        "file://host/a.jpg",
        "zip:file:///a.zip",
        "tar:file:///a!/",
        "zip:http://x/a!/b",
        "file:///a%00b",
        "",
    ],
)
def test_other_uris_are_refused(uri):
    """A URI of another kind, of another machine or without a member is refused in a sentence."""
    assert str(refusal(uri)).startswith(uri)
    assert "damaged" not in str(refusal(uri))


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_members_in_any_order(tmp_path, kind):
    """Members come back whole, in the archive's order and in any other, beyond the number of archives kept open."""
    members = {f"dir/{number}.jpg": jpeg(number) for number in range(40)}
    paths = [tmp_path / f"{which}.{kind}" for which in range(3)]
    for path in paths:
        make_zip(path, members) if kind == "zip" else make_tar(path, members, f"w:{'' if kind == 'tar' else kind}")
    found = list(scan([str(tmp_path)]))
    assert len(found) == 120
    with Reader(archives_max=2) as reader:
        for order in [found, random.Random(1).sample(found, 120)]:
            for uri, size, _mtime in order:
                assert reader.read(uri, size) == members[uri.partition("!/")[2]]


def test_large_members_come_whole(tmp_path):
    """A member longer than what is read of a tar at once comes whole, from each kind of archive."""
    data = JPEG + random.Random(3).randbytes(3_333_333)
    make_zip(tmp_path / "z", {"a": data})
    make_tar(tmp_path / "t", {"a": data})
    make_tar(tmp_path / "g", {"a": data}, "w:gz")
    with Reader() as reader:
        assert [len(data)] * 3 == [offer.size for offer in scan([str(tmp_path)])]
        assert all(reader.read(offer.uri, offer.size) == data for offer in scan([str(tmp_path)]))


def test_sparse_member_of_a_tar(tmp_path):
    """A sparse file, as GNU tar writes it, comes back with its holes filled."""
    (tmp_path / "s.jpg").write_bytes(JPEG)
    os.truncate(tmp_path / "s.jpg", 5_000_000)
    subprocess.run(["tar", "-C", tmp_path, "--sparse", "-cf", tmp_path / "t", "s.jpg"], check=True)
    assert (tmp_path / "t").stat().st_size < 100_000
    (offer,) = scan([str(tmp_path / "t")])
    assert read(offer.uri, offer.size) == JPEG.ljust(5_000_000, b"\0")


def test_names_in_archives_are_only_names(tmp_path):
    """Members called ../x, /etc/passwd, with a seam, or not in UTF-8 are read from the archive and nowhere else."""
    names = ["../x.jpg", "/etc/passwd", "a!/b.jpg", "caf\udce9.jpg", "ü%20.jpg", "\N{FACE WITHOUT MOUTH}.jpg"]
    members = {name: jpeg(number) for number, name in enumerate(names)}
    make_tar(tmp_path / "t", members)
    del members["caf\udce9.jpg"]
    make_zip(tmp_path / "z", members)
    with Reader() as reader:
        found = [reader.read(offer.uri, offer.size) for offer in scan([str(tmp_path)])]
    assert found == [jpeg(number) for number in range(6)] + [jpeg(number) for number in (0, 1, 2, 4, 5)]


def test_archive_that_changes_is_opened_again(tmp_path):
    """A rewritten archive is noticed; a member that is gone or changed is told so."""
    make_zip(tmp_path / "z", {"a": jpeg(1), "b": jpeg(2)})
    uri = member_to_uri("zip", tmp_path / "z", "a")
    with Reader() as reader:
        assert reader.read(uri) == jpeg(1)
        make_zip(tmp_path / "new", {"a": jpeg(3)})
        (tmp_path / "new").replace(tmp_path / "z")
        assert reader.read(uri) == jpeg(3)
        with pytest.raises(SourceError, match="has changed since it was accepted"):
            reader.read(uri, len(jpeg(1)))
        with pytest.raises(SourceError, match="is gone"):
            reader.read(member_to_uri("zip", tmp_path / "z", "b"))
        (tmp_path / "z").write_bytes(b"no archive any more")
        with pytest.raises(SourceError, match="none any more"):
            reader.read(uri)
        (tmp_path / "z").unlink()
        with pytest.raises(SourceError, match="is gone"):
            reader.read(uri)


def test_tar_with_one_name_twice(tmp_path):
    """A tar that was appended to holds both; each is found by its size."""
    with tarfile.open(tmp_path / "t", "w") as made:
        for number in (1, 2):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(jpeg(number))
            made.addfile(info, io.BytesIO(jpeg(number)))
    uri = member_to_uri("tar", tmp_path / "t", "a.jpg")
    with Reader() as reader:
        assert [jpeg(1), jpeg(2)] == [reader.read(uri, len(jpeg(number))) for number in (1, 2)]
        with pytest.raises(SourceError, match="no member of this name has 5 bytes"):
            reader.read(uri, 5)
        with pytest.raises(SourceError, match="no such member"):
            reader.read(member_to_uri("tar", tmp_path / "t", "b.jpg"))


def test_encrypted_members_are_told(tmp_path):
    """A zip's encrypted member is passed over with the reason, and refused when read."""
    make_zip(tmp_path / "z", {"a": JPEG})
    data = bytearray((tmp_path / "z").read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "z").write_bytes(data)
    assert troubles(tmp_path / "z") == ["is encrypted"]
    assert "is encrypted" in str(refusal(member_to_uri("zip", tmp_path / "z", "a")))


def test_links_in_archives_are_told_or_left_out(tmp_path):
    """A link in a zip is passed over; links, folders and devices in a tar have no bytes and are left out."""
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "z", "w") as made:
        made.writestr(info, "/etc/passwd")
    assert troubles(tmp_path / "z") == ["is a link inside an archive"]
    with tarfile.open(tmp_path / "t", "w") as made:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE):
            link = tarfile.TarInfo("x")
            link.type, link.linkname = kind, "/etc/passwd"
            made.addfile(link)
    assert list(scan([str(tmp_path / "t")])) == []


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_damage_anywhere_is_never_an_exception(tmp_path, kind):
    """However an archive is cut or scribbled upon, a scan ends in order, and reading raises SourceError or is right."""
    path = tmp_path / "a"
    members = {f"{number}.jpg": jpeg(number) for number in range(6)}
    make_zip(path, members) if kind == "zip" else make_tar(path, members, f"w:{'' if kind == 'tar' else kind}")
    good = path.read_bytes()
    uris = [offer.uri for offer in scan([str(path)])]
    assert len(uris) == 6
    dice = random.Random(7)
    for _ in range(150):
        bad = bytearray(good)
        if dice.random() < 0.4:
            del bad[dice.randrange(len(bad)) :]
        else:
            for _ in range(dice.randrange(1, 4)):
                bad[dice.randrange(len(bad))] = dice.randrange(256)
        path.write_bytes(bad)
        assert all(isinstance(found, (Offer, Passed)) for found in scan([str(path)]))
        with Reader() as reader:
            for uri in uris:
                with suppress(SourceError):
                    assert isinstance(reader.read(uri), bytes)


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_cut_archive_is_told(tmp_path, kind):
    """An archive that was cut short is said to be damaged, after the images that could still be seen."""
    path = tmp_path / "a"
    members = {f"{number}.jpg": random.Random(number).randbytes(5000) for number in range(20)}
    members = {name: JPEG + data for name, data in members.items()}
    make_zip(path, members) if kind == "zip" else make_tar(path, members, f"w:{'' if kind == 'tar' else kind}")
    path.write_bytes(path.read_bytes()[:50_000])
    found = list(scan([str(path)]))
    if kind == "zip":  # its table of contents is at its end: what is left is no zip at all
        assert len(found) == 1
    elif kind == "tar":
        assert len(found) > 5
    assert isinstance(found[-1], Passed)
    assert "archive" in found[-1].reason


def test_member_that_inflates_without_end(tmp_path):
    """A zip or tar of a few kilobytes that says gigabytes is refused by its size, in little memory."""
    with zipfile.ZipFile(tmp_path / "z", "w", zipfile.ZIP_DEFLATED) as made, made.open("a.jpg", "w") as member:
        for _ in range(100):
            member.write(bytes(1 << 20))
    info = tarfile.TarInfo("a.jpg")
    info.size = 100 << 20
    (tmp_path / "t").write_bytes(bz2.compress(info.tobuf() + bytes(100 << 20)))
    tracemalloc.start()
    try:
        for name in "zt":
            assert [found.reason for found in scan([str(tmp_path / name)], size_bytes_max=1 << 20)] == [
                "has 104857600 bytes, more than 1048576"
            ]
            uri = member_to_uri({"z": "zip", "t": "tar"}[name], tmp_path / name, "a.jpg")
            assert "at most 1048576" in str(refusal(uri, 1 << 20))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_header_that_claims_gigabytes(tmp_path):
    """A tar's extended header is not read beyond a limit, whatever length it claims."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20
    (tmp_path / "t").write_bytes(gzip.compress(header.tobuf() + bytes(64 << 20)))
    (reason,) = troubles(tmp_path / "t")
    assert "a header claims to be 67108864 bytes long" in reason


def test_header_that_points_backwards(tmp_path):
    """A member whose negative length leads back to itself neither makes a scan go round for ever nor ends it quietly.

    Some releases of Python refuse such a header themselves, and then take it for the end.
    """
    with tarfile.open(tmp_path / "t", "w", format=tarfile.PAX_FORMAT) as made:
        made.addfile(tarfile.TarInfo("first"))
        info = tarfile.TarInfo("x.jpg")
        info.pax_headers = {"size": "-1536"}  # three blocks: the extended header, its content, and the header
        made.addfile(info)
    found = list(scan([str(tmp_path / "t")]))
    assert re.search("(points backwards|no header where one should be), 512 bytes into it", found[-1].reason)
    assert "damaged" in str(refusal(member_to_uri("tar", tmp_path / "t", "none")))


def test_damaged_header_in_a_tar_is_not_its_end(tmp_path):
    """A tar with one bad header is told as damaged, where tarfile would say that it ended there."""
    make_tar(tmp_path / "t", {"1": JPEG, "2": JPEG, "3": JPEG})
    data = bytearray((tmp_path / "t").read_bytes())
    data[2 * 1024 + 5] ^= 1
    (tmp_path / "t").write_bytes(data)
    found = list(scan([str(tmp_path / "t")]))
    assert [type(one) for one in found] == [Offer, Offer, Passed]
    assert "2 members could be looked at: no header where one should be, 2048 bytes into it" in found[2].reason
    assert "damaged" in str(refusal(member_to_uri("tar", tmp_path / "t", "3")))


def test_tar_of_many_members_in_little_memory(tmp_path):
    """A scan of a tar forgets each member when it has been offered."""
    make_tar(tmp_path / "t", {f"{number}.jpg": JPEG for number in range(3000)})
    tracemalloc.start()
    try:
        assert sum(1 for _ in scan([str(tmp_path / "t")])) == 3000
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_few_archives_stay_open(tmp_path):
    """A reader keeps no more archives open than it was told."""
    for number in range(6):
        make_zip(tmp_path / f"{number}", {"a": JPEG})
    before = len(os.listdir("/proc/self/fd"))
    with Reader(archives_max=2) as reader:
        for number in range(6):
            reader.read(member_to_uri("zip", tmp_path / f"{number}", "a"))
            assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_zip_with_an_impossible_date(tmp_path):
    """Month 15 in a zip is time zero, on every run."""
    make_zip(tmp_path / "z", {"a.jpg": JPEG})
    data = bytearray((tmp_path / "z").read_bytes())
    at = data.index(b"PK\x01\x02") + 14
    data[at : at + 2] = struct.pack("<H", 15 << 5)
    (tmp_path / "z").write_bytes(data)
    assert [found.mtime_ns for found in scan([str(tmp_path / "z")])] == [0]


def test_nothing_stays_open(tmp_path):
    """After a scan and a reader over archives, good and bad, no file is left open."""
    make_zip(tmp_path / "z", {"a": JPEG})
    make_tar(tmp_path / "t", {"a": JPEG})
    (tmp_path / "bad").write_bytes(gzip.compress(b"x" * 2000))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        found = [offer for offer in scan([str(tmp_path)]) if isinstance(offer, Offer)]
        with Reader() as reader:
            for offer in found:
                reader.read(offer.uri)
    assert len(os.listdir("/proc/self/fd")) == before


def test_zip_of_too_many_members(tmp_path, monkeypatch):
    """A table of contents that would fill the memory is counted before it is read, whatever it says of itself."""
    monkeypatch.setattr(archive, "ZIP_MEMBERS_MAX", 50)
    make_zip(tmp_path / "few.zip", {f"{number}.jpg": jpeg(number) for number in range(50)})
    assert not troubles(tmp_path / "few.zip")
    make_zip(tmp_path / "many.zip", {f"{number}.jpg": jpeg(number) for number in range(51)})
    data = (tmp_path / "many.zip").read_bytes()
    (tmp_path / "lying.zip").write_bytes(data[:-14] + b"\1\0\1\0" + data[-10:])
    (tmp_path / "with a note.zip").write_bytes(data[:-2] + b"\x05\0noted")
    for name in ("many.zip", "lying.zip", "with a note.zip"):
        (reason,) = troubles(tmp_path / name)
        assert "more than 50 members: unpack it and give the folder" in reason
        uri = member_to_uri("zip", str(tmp_path / name), "1.jpg")
        assert "unpack it" in str(refusal(uri))


def test_zip_whose_table_is_elsewhere(tmp_path):
    """A table that would begin before the file, or end behind it, makes a damaged archive."""
    make_zip(tmp_path / "good.zip", {"a.jpg": jpeg(1)})
    data = (tmp_path / "good.zip").read_bytes()
    for size in (0xFFFFFFF0, len(data) + 1, 0):
        (tmp_path / "bad.zip").write_bytes(data[:-10] + struct.pack("<I", size) + data[-6:])
        assert [found for found in scan([str(tmp_path / "bad.zip")]) if isinstance(found, Offer)] == []


def test_archives_in_archives_are_not_followed(tmp_path):
    """A zip that holds itself, or hundreds of others, is one level deep: what is inside is told and left."""
    make_zip(tmp_path / "inner.zip", {"a.jpg": jpeg(1)})
    inner = (tmp_path / "inner.zip").read_bytes()
    make_zip(tmp_path / "outer.zip", {f"{number}.zip": inner for number in range(200)})
    assert set(troubles(tmp_path / "outer.zip")) == {"is an archive inside an archive: unpack the outer one"}


def test_special_members_of_a_tar_are_left_out(tmp_path):
    """Devices, fifos, folders, soft and hard links have no bytes of their own, and names are never paths."""
    with tarfile.open(tmp_path / "odd.tar", "w") as made:
        kinds = {
            "dev.jpg": tarfile.CHRTYPE, "disk.jpg": tarfile.BLKTYPE, "fifo.jpg": tarfile.FIFOTYPE,
            "soft.jpg": tarfile.SYMTYPE, "hard.jpg": tarfile.LNKTYPE, "folder.jpg": tarfile.DIRTYPE,
        }  # fmt: skip
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
        for name in ("../../up.jpg", "/etc/cron.d/x.jpg", "a\x1b[2J\nb.jpg", "caf\udce9.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(jpeg(1))
            made.addfile(info, io.BytesIO(jpeg(1)))
    found = list(scan([str(tmp_path / "odd.tar")]))
    assert all(isinstance(one, Offer) for one in found)
    assert len(found) == 4
    assert all(one.uri.isprintable() and one.uri.isascii() for one in found)
    assert [read(one.uri) for one in found] == [jpeg(1)] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["odd.tar"]
