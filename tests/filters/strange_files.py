"""Files that are called pictures and are something else, or two things at once."""

import gzip
import io
import struct
import tarfile
import zipfile

from good_files import good


def archive(kind):
    out = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("a.txt", "not a picture")
    else:
        with tarfile.open(fileobj=out, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return out.getvalue()


MVG = b"push graphic-context\nviewbox 0 0 64 64\nimage over 0,0 0,0 'https://127.0.0.1/x'\npop graphic-context\n"
SVG = b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
MSL = b"<?xml version='1.0'?><image><read filename='/etc/passwd'/><write filename='/tmp/x'/></image>"
PHP = b"<?php system($_GET['c']); __halt_compiler();"


STRANGERS = {
    "mvg.jpg": MVG,
    "svg.jpg": SVG,
    "svg.png": SVG,
    "eps.jpg": EPS,
    "ps.png": b"%!PS\n(%pipe%id) (w) file",
    "msl.jpg": MSL,
    "pdf.jpg": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/Launch/F(/bin/sh)>>>>",
    "text.jpg": b"text:/etc/passwd",
    "at.jpg": b"@/etc/passwd",
    "url.jpg": b"https://127.0.0.1:1/x.jpg",
    "label.jpg": b"label:@/etc/passwd",
    "ephemeral.jpg": b"ephemeral:/etc/passwd",
    "shortcut.jpg": b"[InternetShortcut]\r\nURL=file:///etc/passwd",
    "html.jpg": b"<!DOCTYPE html><script>alert(1)</script>",
    "php.jpg": PHP,
    "script.jpg": b"#!/bin/sh\nid\n",
    "elf.jpg": b"\x7fELF\x02\x01\x01" + bytes(60),
    "exe.png": b"MZ" + bytes(200),
    "class.gif": b"\xca\xfe\xba\xbe\0\0\x004",
    "pickle.jpg": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93.",
    "sqlite.jpg": b"SQLite format 3\0" + bytes(90),
    "empty.jpg": b"",
    "one-byte.jpg": b"\xff",
    "zeros.jpg": bytes(4096),
    "ones.png": b"\xff" * 4096,
    "xcf.png": b"gimp xcf file\0" + bytes(40),
    "psd.jpg": b"8BPS\0\x01" + bytes(40),
    "exr.jpg": b"v/1\x01" + bytes(40),
    "hdr.jpg": b"#?RADIANCE\n\n-Y 9 +X 9\n",
    "ico.png": b"\0\0\1\0\1\0" + bytes(40),
    "pcx.bmp": b"\x0a\x05\x01\x08" + bytes(130),
    "tga.png": b"\0\0\x02" + bytes(9) + b"\x10\0\x10\0\x18\0" + bytes(768),
    "xbm.gif": b"#define x_width 9\n#define x_height 9\n",
    "xpm.gif": b'/* XPM */\nstatic char *x[] = {"1 1 1 1"};',
    "fits.tif": b"SIMPLE  =                    T" + bytes(200),
    "dicom.jpg": bytes(128) + b"DICM" + bytes(60),
    "jp2.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
    "jxl.jpg": b"\xff\x0a" + bytes(60),
    "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "qoi.png": b"qoif\0\0\0\x30\0\0\0\x30\x03\0",
    "dds.png": b"DDS |\0\0\0" + bytes(120),
    "wmf.jpg": b"\xd7\xcd\xc6\x9a" + bytes(60),
    "emf.jpg": b"\1\0\0\0" + bytes(36) + b" EMF",
    "icns.png": b"icns\0\0\0\x40" + bytes(56),
    "djvu.jpg": b"AT&TFORM" + bytes(40),
    "mp4.jpg": b"\0\0\0\x18ftypisom\0\0\0\0isommp41",
    "mkv.jpg": b"\x1aE\xdf\xa3" + bytes(60),
    "mp3.jpg": b"ID3\x04\0\0" + bytes(60),
    "wav.webp": b"RIFF\x40\0\0\0WAVEfmt " + bytes(50),
    "sun.png": b"\x59\xa6\x6a\x95" + bytes(60),
    "raw.tif": b"IIRO\x08\0\0\0" + bytes(60),
    "7z.jpg": b"7z\xbc\xaf\x27\x1c" + bytes(60),
    "rar.jpg": b"Rar!\x1a\x07\x01\0" + bytes(60),
}
"""Files that are called pictures and are none, or none that we read."""


def polyglots():
    """Files that are two things: the first bytes of a picture in front of something else."""
    files = {}
    for name, data in {"mvg": MVG, "svg": SVG, "eps": EPS, "msl": MSL, "php": PHP, "zip": archive("zip")}.items():
        files[f"polyglot-{name}.jpg"] = b"\xff\xd8\xff\xfe\0\x08abcdef" + data
        files[f"polyglot-{name}.gif"] = b"GIF89a" + data
        files[f"polyglot-{name}.png"] = b"\x89PNG\r\n\x1a\n" + data
    files["polyglot-tiff.bmp"] = b"BM" + bytes(12) + struct.pack("<I", 40) + good("TIFF")
    return files


def gzip_bomb(mib):
    """Return a gzip file of a tar of one member of so many MiB of zeros."""
    info = tarfile.TarInfo("zeros.jpg")
    info.size = mib << 20
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        file.write(info.tobuf())
        for _ in range(mib):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    return out.getvalue()
