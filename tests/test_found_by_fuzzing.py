"""What scripts/fuzz has found: each one a test with the smallest input that shows it."""

import io
import json
import tarfile
import zipfile
from array import array

import msgpack
import numpy as np
import PIL.Image
import pytest
import zmq

from zgrid.errors import SettingsError, SourceError
from zgrid.filters.jpeg_blocks import draw, read_components
from zgrid.filters.lines import Patch
from zgrid.protocol import agent_effects as fx
from zgrid.protocol.duty import Duty
from zgrid.protocol.job import Offer
from zgrid.protocol.messages import Jobs, Welcome
from zgrid.protocol.wire import decode, encode
from zgrid.roles.link import ChildError
from zgrid.roles.report import read_report
from zgrid.settings.load import load
from zgrid.settings.tables import SinkSettings
from zgrid.sources import scan
from zgrid.sources.reader import Reader
from zgrid.transport.keyring import read_key, read_list

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
BOOT = b"bootboot"
LAST_NS = (1 << 63) - 1


@pytest.mark.parametrize(
    ("mtime", "kept_ns"),
    [
        ("inf", LAST_NS),
        ("-inf", -LAST_NS - 1),
        ("nan", 0),
        ("1e300", LAST_NS),
        ("-1e300", -LAST_NS - 1),
        ("1e10", LAST_NS),
    ],
)
def test_tar_member_of_an_impossible_time(tmp_path, mtime, kept_ns):
    """It was an OverflowError on the way, or a time that no ledger keeps; now it is the last that can be kept."""
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, headers in (("odd.png", {"mtime": mtime}), ("good.png", {"mtime": "1.5"})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(PNG), headers
            archive.addfile(info, io.BytesIO(PNG))
    found = list(scan([str(file)]))
    assert [type(one) for one in found] == [Offer, Offer]
    assert [one.mtime_ns for one in found] == [kept_ns, 1_500_000_000]


def test_zip_member_without_a_name(tmp_path):
    """It was an IndexError of zipfile's on the way."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", PNG)
        archive.writestr("good.png", PNG)
    data = file.read_bytes()
    # A name of no bytes: its length is 0, and its one byte becomes the extra field's, which zipfile passes over.
    at = data.index(b"PK\1\2")
    central = data[:at] + data[at:].replace(b"\1\0\0\0\0\0\0\0", b"\0\0\1\0\0\0\0\0", 1)
    assert central != data
    file.write_bytes(central)
    nameless, good = scan([str(file)])
    assert nameless.reason == "has no name"
    assert isinstance(good, Offer)


def test_zip_member_shorter_than_it_says(tmp_path):
    """Its bytes are whole by their checksum, but fewer than the archive's table says: they were handed out."""
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.png", PNG)
    data = bytearray(file.read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (len(PNG) + 5).to_bytes(4, "little")
    file.write_bytes(data)
    (offer,) = scan([str(file)])
    with Reader() as reader, pytest.raises(SourceError, match="the archive is damaged"):
        reader.read(offer.uri, offer.size)


def test_tar_whose_sparse_header_is_cut_short(tmp_path):
    """It was an IndexError of tarfile's on the way."""
    file = tmp_path / "a.tar"
    info = tarfile.TarInfo("x.png")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000001\0" * 2
    block[482] = 1  # more of the header is in the next block, which is not there
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:512]))
    file.write_bytes(bytes(block[:512]) + b"7")
    (passed,) = scan([str(file)])
    assert passed.reason.startswith("is a damaged archive")


def test_jpeg_whose_samples_span_two_and_three_pixels():
    """Sampling factors of 6, 3 and 2 divide each other and are more than the four that there are: a ValueError."""
    out = io.BytesIO()
    PIL.Image.new("RGB", (24, 16)).save(out, "JPEG", quality=90)
    data = bytearray(out.getvalue())
    at = data.index(b"\xff\xc0")
    for component, factor in enumerate((6, 3, 2)):
        data[at + 11 + 3 * component] = factor << 4 | factor
    assert read_components(bytes(data)) is None
    assert draw(bytes(data), [Patch(0, 0, np.full((9, 9, 4), 255, np.uint8))]) is None


@pytest.mark.parametrize("text", ["x = " + "[" * 5000, "x = " + "{a=" * 5000])
def test_toml_that_nests_without_end(tmp_path, text):
    """It was a RecursionError, from settings and from files of keys."""
    file = tmp_path / "x.toml"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="is not TOML: it nests too deeply"):
        load(SinkSettings, {}, file, {})
    with pytest.raises(SettingsError, match="is damaged, or no file of keys"):
        read_key(file)


@pytest.mark.parametrize("word", ["public", "secret"])
def test_key_of_letters_that_say_too_much(tmp_path, word):
    """Forty letters of Z85 need not be 32 bytes: it was a struct.error, or one of ZeroMQ."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    words = {"public": public, "secret": secret, word: "#" * 40}
    file = tmp_path / "w1.key"
    told = {"zgrid": 1, "grid": "g", "role": "worker", "name": "w1", **words}
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in told.items()))
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="is damaged"):
        read_key(file)
    entry = {"name": "w1", "role": "worker", "public": words["public"]}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in entry.items())
    file.write_text(f'zgrid = 1\ngrid = "g"\n\n[[allowed]]\n{lines}')
    if word == "public":
        with pytest.raises(SettingsError, match="is damaged"):
            read_list(file)


def test_jobs_that_have_waited_for_ever():
    """A ventilator says of jobs that they waited for ages: the results were messages that no sink takes."""
    duty = Duty("w", BOOT, "here", 1, 1)
    duty.child_ready(0, {"null": "1"}, 0.0)
    duty.received(0, Welcome(name="v", boot=BOOT, lane=1, address="tcp://*:1", sinks=["tcp://s:1"]), 0.0)
    jobs = Jobs(
        boot=BOOT, ledger=bytes(16), lane=1, chain="null", ttr_ms=1000, single=True, seqs=[1], attempts=[1],
        keys=bytes(16),
        uris=["file:///a"], sizes=[1], mtimes_ns=[0], waits=[(1 << 63) - 1],
    )  # fmt: skip
    duty.work(0, jobs, 0.0)
    effects = duty.returned(0, read_report([7, b"\0", bytes(8), bytes(8), []], memoryview(b""), 1), 1.0)
    pushed = [effect.results for effect in effects if isinstance(effect, fx.Push)]
    assert len(pushed) == 1
    assert decode(encode(pushed[0])) == pushed[0]


def test_child_whose_times_are_allowed_one_by_one():
    """Together they made a report that the ventilator refuses, so that none of the jobs was ever settled."""
    times = array("d", [6e14, 6e14]).tobytes()
    header = msgpack.unpackb(msgpack.packb([7, b"\0\0", bytes(16), times, []]))
    with pytest.raises(ChildError, match="its times are no times"):
        read_report(header, memoryview(b""), 2)
