"""JPEG files that are cut, contradict themselves, or keep a decoder busy."""

import struct

from good_files import good


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def sof(width, height, *, marker=0xC0, precision=8, components=3, sampling=0x11):
    body = struct.pack(">BHHB", precision, height, width, components)
    return segment(marker, body + b"".join(bytes([at + 1, sampling, 0]) for at in range(components)))


def _parts():
    """Return the segments of a good JPEG, as (marker, bytes from FF on); the last is the scan with the end mark."""
    data, at, parts = good("JPEG"), 2, []
    while data[at + 1] != 0xDA:
        length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append((data[at + 1], data[at : at + length]))
        at += length
    return [*parts, (0xDA, data[at:])]


def jpeg(swap=None, drop=(), before=b""):
    """Return a good JPEG with the segments of a marker replaced, or left out, and something before all others."""
    parts = [(marker, (swap or {}).get(marker, segment)) for marker, segment in _parts() if marker not in drop]
    return b"\xff\xd8" + before + b"".join(segment for _, segment in parts)


def many_scans(width, height, scans, *, before=b"", within=b""):
    """Return a progressive JPEG whose scans all refine the same coefficient of nothing.

    ``before`` stands before its frame, and ``within`` behind its first scan.
    """
    tables = b"".join(segment for marker, segment in _parts() if marker in (0xDB, 0xC4))
    first = segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0x01])) + bytes(40)
    again = segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0x00])) + b"\x28\xa0" * 4
    return (
        b"\xff\xd8"
        + tables
        + before
        + sof(width, height, marker=0xC2, components=1)
        + first
        + within
        + again * scans
        + b"\xff\xd9"
    )


def sequential_scans(scans):
    """Return a sequential JPEG with many scans of one of its three components, with nothing in them."""
    return jpeg({0xDA: segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])) * scans + b"\xff\xd9"})


def empty_scan():
    """Return the header of a good JPEG's scan, and the end mark right behind it."""
    scan = dict(_parts())[0xDA]
    return scan[: 2 + int.from_bytes(scan[2:4], "big")] + b"\xff\xd9"


def jpegs():
    """Return name -> the file."""
    sos = dict(_parts())[0xDA]
    head = 2 + int.from_bytes(sos[2:4], "big")
    return {
        "65500-squared.jpg": jpeg({0xC0: sof(65500, 65500)}),
        "65500-squared-progressive.jpg": jpeg({0xC0: sof(65500, 65500, marker=0xC2)}),
        "20000-squared.jpg": jpeg({0xC0: sof(20000, 20000)}),
        "no-width.jpg": jpeg({0xC0: sof(0, 48)}),
        "no-height.jpg": jpeg({0xC0: sof(48, 0)}),
        "no-components.jpg": jpeg({0xC0: sof(48, 48, components=0)}),
        "255-components.jpg": jpeg({0xC0: sof(48, 48, components=85) + b""}),
        "two-components.jpg": jpeg({0xC0: sof(48, 48, components=2)}),
        "twelve-bits.jpg": jpeg({0xC0: sof(48, 48, precision=12, marker=0xC1)}),
        "no-bits.jpg": jpeg({0xC0: sof(48, 48, precision=0)}),
        "sampling-0.jpg": jpeg({0xC0: sof(48, 48, sampling=0)}),
        "sampling-15.jpg": jpeg({0xC0: sof(48, 48, sampling=0xFF)}),
        "lossless.jpg": jpeg({0xC0: sof(48, 48, marker=0xC3)}),
        "hierarchical.jpg": jpeg({0xC0: sof(48, 48, marker=0xC5)}),
        "two-frames.jpg": jpeg({0xC0: sof(48, 48) * 2}),
        "no-frame.jpg": jpeg(drop=(0xC0,)),
        "no-scan.jpg": jpeg({0xDA: b"\xff\xd9"}),
        "no-quantization.jpg": jpeg(drop=(0xDB,)),
        "huffman-overflow.jpg": jpeg({0xC4: segment(0xC4, b"\0" + b"\xff" * 16 + bytes(200))}),
        "quantization-index.jpg": jpeg({0xDB: segment(0xDB, b"\x0f" + bytes(64))}),
        "scan-of-component-9.jpg": jpeg({0xDA: b"\xff\xda\0\x0c\x03\x09\0\x0a\x11\x0b\x11\0\x3f\0" + sos[head:]}),
        "scan-band-backwards.jpg": jpeg(
            {0xC0: sof(48, 48, marker=0xC2), 0xDA: b"\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\x3f\0\0" + sos[head:]}
        ),
        "segment-beyond-the-end.jpg": b"\xff\xd8\xff\xe1\xff\xffExif\0\0" + bytes(100),
        "nothing-but-marks.jpg": b"\xff\xd8" + b"\xff" * 2000,
        "comments-without-end.jpg": b"\xff\xd8" + segment(0xFE, bytes(60000)) * 20,
        "thousands-of-scans.jpg": lambda: many_scans(4000, 4000, 5000),
        "thousands-of-scans-small.jpg": lambda: many_scans(64, 64, 3000),
        "thousands-of-scans-behind-junk.jpg": lambda: many_scans(64, 64, 3000, before=b"x"),
        "thousands-of-scans-behind-a-comment.jpg": lambda: many_scans(64, 64, 3000, within=segment(0xFE, b"\xff\xd9")),
        "thousands-of-sequential-scans.jpg": lambda: sequential_scans(3000),
        "thumbnail-only.jpg": b"\xff\xd8" + segment(0xE1, b"Exif\0\0" + good("JPEG")) + b"\xff\xd9",
    }
