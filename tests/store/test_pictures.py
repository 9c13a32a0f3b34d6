"""Picture files: whole, in place, at most one for each key, and nothing else touched."""

import resource

import pytest

from zgrid.errors import SettingsError, StoreError
from zgrid.store.pictures import MARK, Pictures, picture_name

KEY = bytes.fromhex("ab" * 16)


def files(root) -> list[str]:
    return sorted(
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name not in {".lock", MARK}
    )


@pytest.mark.parametrize(
    ("media", "suffix"),
    [
        ("image/jpeg", ".jpg"),
        ("image/png", ".png"),
        ("image/webp", ".webp"),
        ("../../etc/passwd", ".bin"),
        (None, ".bin"),
    ],
)
def test_name_comes_from_the_key_alone(media, suffix):
    """Whatever a worker says of its picture, the file stays in its folder."""
    assert picture_name(KEY, media) == "ab/" + "ab" * 16 + suffix


def test_save_writes_whole_files(tmp_path):
    """Pictures of any size, as bytes or as a view, lie under their names; nothing unfinished is left."""
    pictures = Pictures(tmp_path / "made" / "pictures")
    data = bytes(range(256)) * 1000
    batch = [(bytes([number]) * 16, "image/jpeg", data[number:]) for number in range(20)]
    batch.append((KEY, "image/png", memoryview(b"small")))
    batch.append((b"\0" * 15 + b"\1", "image/webp", b""))
    names = pictures.save(batch)
    assert files(pictures.root) == sorted(names)
    for name, (_, _, content) in zip(names, batch, strict=True):
        assert (pictures.root / name).read_bytes() == content
    assert pictures.save([]) == []
    pictures.close()


def test_save_replaces(tmp_path):
    """The same key again, as after a crash before its row was there, leaves one picture: the later."""
    pictures = Pictures(tmp_path)
    pictures.save([(KEY, "image/jpeg", b"before the crash")])
    assert pictures.save([(KEY, "image/jpeg", b"again")]) == ["ab/" + "ab" * 16 + ".jpg"]
    assert (tmp_path / picture_name(KEY, "image/jpeg")).read_bytes() == b"again"
    pictures.close()


def test_full_disk_leaves_no_half_picture(tmp_path):
    """A disk that fills up in the middle of a batch says so, leaves nothing, and the batch can be repeated."""
    pictures = Pictures(tmp_path)
    batch = [(bytes([number]) * 16, "image/jpeg", b"x" * size) for number, size in enumerate((10, 5000, 10))]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"no space is left for the pictures in .*: free some"):
            pictures.save(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == []
    assert files(tmp_path) != pictures.save(batch)
    pictures.close()


def test_a_failed_save_leaves_nothing_behind_also_later(tmp_path):
    """What other threads were writing when one failed is ended and removed before the error comes."""
    pictures = Pictures(tmp_path)
    keys = [number.to_bytes(16) for number in range(1, 61)]
    in_the_way = tmp_path / ".tmp" / picture_name(keys[0], "image/jpeg")[3:]
    in_the_way.mkdir()
    with pytest.raises(StoreError):
        pictures.save([(key, "image/jpeg", bytes(200_000)) for key in keys])
    pictures.close()  # waits for the threads
    assert list((tmp_path / ".tmp").iterdir()) == [in_the_way]
    assert files(tmp_path) == []


def test_second_sink_is_refused(tmp_path):
    """Two sinks on one folder would sweep each other's pictures away."""
    pictures = Pictures(tmp_path)
    with pytest.raises(SettingsError, match="another sink keeps its pictures in"):
        Pictures(tmp_path)
    pictures.close()
    Pictures(tmp_path).close()


def test_root_that_cannot_be_made(tmp_path):
    """A file in the folder's place is said in a sentence."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="there is a file on the way"):
        Pictures(tmp_path / "file" / "pictures")


def test_sweep_removes_pictures_without_a_row(tmp_path):
    """Only pictures that no row names go, in steps; what is not ours stays."""
    pictures = Pictures(tmp_path)
    names = [picture_name(number.to_bytes(2) + b"k" * 14, "image/jpeg") for number in range(2500)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    others = ["00/notes.txt", "00/" + "AB" * 16 + ".jpg", "zz/" + "ab" * 16 + ".jpg", "cat.jpg"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not ours")
    kept, asked = set(names[::10]), []

    def named(some):
        asked.append(len(some))
        return kept & set(some)

    removed = list(pictures.sweep(named))
    assert (sum(removed), sum(asked), max(asked)) == (2250, 2500, 256)
    assert files(tmp_path) == sorted([*kept, *others])
    assert sum(pictures.sweep(named)) == 0
    pictures.close()


def test_unfinished_files_are_removed_at_the_start(tmp_path):
    """What an earlier sink had only begun to write is gone before anything is stored."""
    Pictures(tmp_path).close()
    (tmp_path / ".tmp" / ("ab" * 16 + ".jpg")).write_bytes(b"hal")
    pictures = Pictures(tmp_path)
    assert files(tmp_path) == []
    pictures.close()
