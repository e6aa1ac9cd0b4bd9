"""JPEG: cut off at every part, of odd colours, of too many parts."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image

from tests.hostile.made import (
    BROKEN,
    FOREIGN,
    READ,
    READ_OR_BROKEN,
    TOO_LARGE,
    encoded,
    noise,
    picture,
    u16,
)
from tests.hostile.made import HostileFile as File

_SOF, _SOS, _DQT, _DHT = 0xC0, 0xDA, 0xDB, 0xC4


def segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + u16(len(payload) + 2) + payload


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments put in first of all."""
    return data[:2] + b"".join(segments) + data[2:]


def parts(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the first scan's header."""
    found: list[tuple[int, int, int]] = []
    at = 2
    while not found or found[-1][0] != _SOS:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], at, end))
        at = end
    return found


def files() -> Iterator[File]:
    yield from _cut_off()
    yield from _broken_headers()
    yield from _odd_colours()
    yield from _too_much()
    yield from _several_pictures()


def _cut_off() -> Iterator[File]:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    data = encoded(picture(), "JPEG", exif=exif)
    yield File("jpeg cut in SOI", data[:1], FOREIGN)
    yield File("jpeg cut after SOI", data[:2], FOREIGN)
    yield File("jpeg cut after its magic number", data[:3], BROKEN)
    names = {0xE0: "APP0", 0xE1: "APP1", _DQT: "DQT", _SOF: "SOF", _DHT: "DHT", _SOS: "SOS"}
    told = set[int]()
    for marker, start, end in parts(data):
        if marker not in told:
            told.add(marker)
            yield File(f"jpeg cut in {names[marker]}", data[: (start + end) // 2], BROKEN)
            yield File(f"jpeg cut in the length of {names[marker]}", data[: start + 3], BROKEN)
    assert told == names.keys()
    scan = parts(data)[-1][2]
    yield File("jpeg cut before its scan", data[:scan], BROKEN)
    yield File("jpeg cut in its scan", data[: (scan + len(data)) // 2], BROKEN)
    yield File("jpeg without EOI", data[:-2], READ_OR_BROKEN)
    progressive = encoded(picture(width=64, height=64), "JPEG", progressive=True)
    yield File("jpeg progressive, cut", progressive[: len(progressive) // 2], BROKEN)


def _broken_headers() -> Iterator[File]:
    data = encoded(picture(), "JPEG")
    frame = next(start for marker, start, _ in parts(data) if marker == _SOF)

    def sized(width: int, height: int) -> bytes:
        return data[: frame + 5] + u16(height) + u16(width) + data[frame + 9 :]

    yield File("jpeg of no pixels", sized(0, 0), BROKEN)
    yield File("jpeg of no width", sized(0, 20), BROKEN)
    yield File("jpeg of no height", sized(24, 0), BROKEN)
    yield File("jpeg of 65535x65535", sized(65_535, 65_535), TOO_LARGE)
    yield File("jpeg larger than its scan", sized(500, 500), READ_OR_BROKEN)
    twelve_bits = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    yield File("jpeg of 12 bits", twelve_bits, BROKEN)
    two_channels = data[: frame + 9] + b"\2" + data[frame + 10 :]
    yield File("jpeg of two channels", two_channels, BROKEN)
    lossless = data[: frame + 1] + b"\xc3" + data[frame + 2 :]
    yield File("jpeg that says lossless", lossless, BROKEN)
    scan = parts(data)[-1][2]
    yield File("jpeg of random scan data", data[:scan] + noise(2_000), READ_OR_BROKEN)
    yield File("jpeg of random bytes", b"\xff\xd8\xff" + noise(4_000), BROKEN)
    yield File("jpeg of zeros", b"\xff\xd8\xff" + bytes(4_000), BROKEN)
    no_tables = b"".join(
        [data[:2], *(data[a:b] for marker, a, b in parts(data) if marker != _DQT), data[scan:]]
    )
    yield File("jpeg without DQT", no_tables, BROKEN)
    yield File("jpeg with a segment of length 0", data[:2] + b"\xff\xe3\0\0" + data[2:], BROKEN)
    first = parts(data)[-1][1]
    backwards = data[:2] + data[first:scan] + data[2:first] + data[scan:]
    yield File("jpeg whose scan comes first", backwards, BROKEN)


def _odd_colours() -> Iterator[File]:
    yield File("jpeg grey", encoded(picture("L"), "JPEG"), READ)
    cmyk = encoded(picture("CMYK"), "JPEG")
    yield File("jpeg CMYK", cmyk, READ)
    adobe = cmyk.index(b"Adobe") + 11
    yield File("jpeg YCCK", cmyk[:adobe] + b"\2" + cmyk[adobe + 1 :], READ)
    nonsense = cmyk[:adobe] + b"\xee" + cmyk[adobe + 1 :]
    yield File("jpeg CMYK of an unknown transform", nonsense, READ_OR_BROKEN)
    yield File("jpeg RGB by Adobe", encoded(picture(), "JPEG", keep_rgb=True), READ)
    yield File("jpeg 1x500", encoded(picture("RGB", 1, 500), "JPEG"), READ)
    yield File("jpeg 500x1", encoded(picture("RGB", 500, 1), "JPEG"), READ)
    yield File("jpeg 1x1", encoded(picture("RGB", 1, 1), "JPEG"), READ)
    yield File("jpeg 4:1:1", encoded(picture(), "JPEG", subsampling="4:2:0"), READ)
    yield File("jpeg with restarts", encoded(picture(), "JPEG", restart_marker_blocks=1), READ)


def _too_much() -> Iterator[File]:
    data = encoded(picture(), "JPEG")
    comments = segment(0xFE, b"") * 1_000_000
    yield File("jpeg of a million comments", with_segments(data, comments), BROKEN)
    yield File("jpeg padded by megabytes", data[:2] + b"\xff" * 5_000_000 + data[2:], READ)
    junk = data[:2] + segment(0xE3, b"") + bytes(5_000_000) + data[2:]
    yield File("jpeg with megabytes of junk", junk, READ)
    tables = segment(_DQT, (b"\0" + bytes([1] * 64)) * 1_000) * 30
    yield File("jpeg of thirty thousand tables", with_segments(data, tables), BROKEN)
    control = segment(0xFE, bytes(range(32)) + b"\x1b[2J\r\nX-Evil: 1\xff\xfe\x80")
    yield File("jpeg with control characters in a comment", with_segments(data, control), READ)
    yield File("jpeg of many scans", of_many_scans(2_000, 2_000, 4_000), BROKEN)
    yield File("jpeg of many small scans", of_many_scans(24, 20, 4_000), BROKEN)
    scan = parts(data)[-1][2]
    fill = data[:scan] + b"\xff" * 2_000_000 + b"\0" + b"\xff\xda" * 200
    yield File("jpeg of a long fill in its scan", fill, READ_OR_BROKEN)
    yield File("jpeg progressive", encoded(picture(), "JPEG", progressive=True), READ)


def of_many_scans(width: int, height: int, count: int) -> bytes:
    """A progressive picture, one of whose scans is sent again and again."""
    data = encoded(Image.new("RGB", (width, height)), "JPEG", progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    scan = data[starts[-2] : starts[-1]]
    return data[: starts[-1]] + scan * count + data[starts[-1] :]


def _several_pictures() -> Iterator[File]:
    mpo = encoded(picture(), "MPO", save_all=True, append_images=[picture("RGB", 30, 30)])
    second = mpo.index(b"\xff\xd8\xff", 3)
    yield File("mpo", mpo, READ)
    yield File("mpo of a broken second picture", mpo[:second] + noise(500), READ)
    yield File("mpo without its second picture", mpo[:second], READ)
    index = mpo.index(b"MPF\0")
    garbage = mpo[: index + 4] + noise(40) + mpo[index + 44 :]
    yield File("mpo of a broken index", garbage, READ)
    data = encoded(picture(), "JPEG")
    yield File("jpeg within a jpeg", with_segments(data, segment(0xE1, data)), READ)
    yield File("jpeg followed by a jpeg", data + encoded(picture("L"), "JPEG"), READ)
    yield File("jpeg followed by a zip", data + b"PK\3\4" + noise(300), READ)
    yield File("jpeg said to be a png", data, READ, content_type="image/png")
    yield File("jpeg said to be text", data, READ, content_type="text/html")
