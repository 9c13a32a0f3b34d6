"""Messages whose bytes are kept for ever: today's encoder makes them, today's decoder reads them, nobody edits them."""

from hashlib import sha256
from pathlib import Path

import pytest
from wire_cases import VECTORS

from zgrid.protocol.messages import KINDS
from zgrid.protocol.wire import decode, encode

FOLDER = Path(__file__).parent.parent / "vectors" / "v1"

SHA256 = {
    "01-hello": "3b37931fc053059c0c0925a87d07d3d3fe07911e860ad080efc48230f35a3ed3",
    "01-hello-reads": "5a90ea9b7967346157ae190e2b301351016929973760bbe8cc1ee1e38831733c",
    "01-hello-ventilator": "ce25b0a574a96524afcc874dc60859de967592a39ca41cebdf37e1dd2f27a43c",
    "02-welcome": "ca9dd3e4ec8f7912e281ee06a5bbe5be4a7000232bc0583aa81294dd64999d10",
    "02-welcome-curve": "9cb93b4e4de9bbe07362c10a21a5f70af5a006eb78dbb311d21f2e22e89b2797",
    "03-refuse": "9c1b1a7d4a86aee8ba71db1e9ad7b7d59b7ee7d05e7d19ffa95e58738dc47bfb",
    "04-who": "0da0ba897b87046a701b46fe4f036d06fd5f149825229bfd1133772529ec3d4b",
    "05-beat": "3a62ca8254fd19df586eb32953f99f6f4348504700c65010efd53ad2c98bb964",
    "05-beat-alive": "1d1a289f1a7528f682a06f7f7794286f9295fccc0a370e0271538f63b38e5a1c",
    "05-beat-ventilator": "fe2cc32f5c3e4af02224c950974630687b3551594b7934eccf2c1fe2bb2e07bd",
    "06-bye": "42d931eeb072b08b2f52702f737256dbb821f4506e07a1ab18596cc2bd203ed0",
    "07-jobs-inline": "94b25aa28ea8e14c67dc9836999509cd2e425c41d099c086f6b30f741c81dc73",
    "07-jobs-by-reference": "9a9e1d464d11fb2b5f2c4f51ffb3e21353dcb27f89b961fc09736bdb7607377e",
    "08-outcomes": "07ed071f2b88936f7ec233d5899473cf09d45a2ad3a44046efee0e9439be8642",
    "08-outcomes-carries": "2ccdacbbc9f1d445dbf7b29353ae79b10264f59907c82f52779e4ef4d0a07597",
    "08-outcomes-unread": "99129bc21490f71bf530b013c2ffaa9b340f3dbb5cf845271a60e75a83f2ef04",
    "09-results": "79edeef1f948363049e529a97762258e3fadfe528030149117a2334fb0cd39c3",
    "10-acks": "4dd0b4ab261f3aaa45c53acebc6e9ec3810a47e80cef78296bf107f4b85b0f2f",
    "11-ask": "1d92577b7a781463e9d4cfb8650fe2eaacadbb5dd4de46cfc1389c7cb01db5e0",
    "12-holds": "251024d1dc27b2f6dcddf79e3f196721e3e69eb28c3ef0263ce6dde62b20fc92",
    "13-question": "3ddb489cbffc5d634430d8a8de04565b09d0bb37ca8aa8b6c871e78c2d5819ed",
    "14-answer": "cf6bc448964b85fb96bd75960a112e6b4cc7a08098cfc74c585eb634527a18e7",
    "15-put": "7a0c9a15fe0c2238996e28b562c23dc803571519debd6dbe36c7bfb454b6079b",
    "16-roster": "12d4b0972935d5127fe0d304833afd8fa9f8712285d3c1eb3d85c513f37d1e03",
}
"""Of every file. Add a line for a new file; never change one: peers in the field speak these bytes."""


def frames_in(path: Path) -> list[bytes]:
    """Return the frames in a file: a line of hex each; lines that begin with # say what it is."""
    lines = path.read_text("ascii").splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("name", VECTORS)
def test_the_encoder_still_makes_it(name: str) -> None:
    """The message becomes the very bytes that the file holds."""
    assert [bytes(frame) for frame in encode(VECTORS[name])] == frames_in(FOLDER / f"{name}.hex")


@pytest.mark.parametrize("name", VECTORS)
def test_the_decoder_still_reads_it(name: str) -> None:
    """The bytes in the file become the message."""
    assert decode(frames_in(FOLDER / f"{name}.hex")) == VECTORS[name]


def test_no_file_was_edited_and_none_is_missing() -> None:
    """The files are those that were published, byte for byte; new ones are listed here and have their message above."""
    found = {path.stem: sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    assert found == SHA256
    assert set(found) == set(VECTORS)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.hex")), ids=lambda path: path.stem)
def test_every_file_says_what_it_is(path: Path) -> None:
    """A file begins with a comment and is named by the number and name of its kind."""
    assert path.read_text("ascii").startswith(f"# ZGRID/1 {path.stem.split('-')[1].upper()}: ")
    number, name = path.stem.split("-")[:2]
    assert KINDS[int(number)].__name__.lower() == name


def test_every_kind_has_one() -> None:
    """No kind of message is without a kept message."""
    assert {type(message) for message in VECTORS.values()} == set(KINDS.values())
