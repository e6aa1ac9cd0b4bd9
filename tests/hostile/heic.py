"""HEIC whose boxes, items, grids and streams lie.  Without the extra all of them are foreign."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np

from tests.heif_files import (
    Hevc,
    Item,
    Property,
    Reference,
    aux,
    box,
    clap,
    coded,
    exif_item,
    full,
    grid,
    gridded,
    heif,
    imir,
    irot,
    ispe,
    nclx,
    profile,
    xmp_item,
)
from tests.hostile import hevc
from tests.hostile.hevc import drawn
from tests.hostile.made import (
    BROKEN,
    FOREIGN,
    READ,
    TOO_LARGE,
    noise,
    picture,
    u16,
    u32,
)
from tests.hostile.made import HostileFile as File

_MANY = 100_000
_LIBHEIFS_TO_SAY = READ | BROKEN | TOO_LARGE
_SOUND = {
    "heic",
    "heic: unknown and not essential",
    "heic: pixels in two pieces",
    "heic: pixels in idat",
    "heic: grid",
    "heic: premultiplied",
    "heic: turned and mirrored",
    "heic: PQ",
    "heic: HLG",
    "heic: XMP of 5 MB",
    "heic: EXIF of 5 MB",
    "heic: a profile of 3 MB",
}


def files() -> Iterator[File]:
    installed = find_spec("pi_heif") is not None
    for file in (*_boxes(), *_tables(), *_places(), *_grids(), *hevc.files(), *_told()):
        statuses = file.statuses if file.name in _SOUND else _LIBHEIFS_TO_SAY
        yield File(file.name, file.data, statuses if installed else FOREIGN)


def small() -> bytes:
    """A sound one, with all that it may have."""
    items = [
        coded(drawn(), irot(1), nclx(1, 13, 6)),
        exif_item(b"MM\0*\0\0\0\10\0\0"),
        xmp_item(b"<x/>"),
    ]
    return heif(items, [Reference(b"cdsc", 2, [1]), Reference(b"cdsc", 3, [1])])


def seeds() -> dict[str, bytes]:
    """Sound ones, by name, to be spoilt."""
    alpha = heif([coded(drawn()), coded(drawn(mode="L"), aux())], [Reference(b"auxl", 2, [1])])
    items, tiles = gridded(np.asarray(picture("RGB", 120, 70)), 64, clap(99, 1, 66, 1, 1, 2, 0, 1))
    return {"heic": small(), "heic alpha": alpha, "heic grid": heif(items, [tiles])}


def _boxes() -> Iterator[File]:
    sound = small()
    yield File("heic", sound, READ)
    ends = [
        sound.index(kind)
        for kind in (b"meta", b"pitm", b"iinf", b"ipco", b"hvcC", b"iloc", b"mdat")
    ]
    for at in (*ends, sound.index(b"mdat") + 99):
        yield File(f"heic: cut off at {at}", sound[:at], BROKEN)
    for kind in (b"meta", b"iinf", b"infe", b"iprp", b"ipco", b"hvcC", b"iref"):
        at = sound.index(kind) - 4
        for size in (1, 7, 2**31, 2**32 - 1):
            lying = sound[:at] + u32(size) + sound[at + 4 :]
            yield File(f"heic: {kind.decode()} of {size} bytes", lying, BROKEN)
    yield File("heic: boxes without end", sound[:24] + box(b"free") * _MANY, BROKEN)
    nested = b""
    for _ in range(2_000):
        nested = full(b"meta", nested)
    yield File("heic: boxes in boxes", sound[:24] + nested, BROKEN)
    yield File(
        "heic: a large size of 2^63", sound[:24] + u32(1) + b"meta" + b"\x7f" + b"\xff" * 7, BROKEN
    )
    for kind in (b"av01", b"jpeg", b"iden", b"iovl", b"tmap", b"    "):
        item = Item(kind, b"\0" * 8, coded(drawn()).properties)
        yield File(f"heic: {kind.decode()}", heif([item]), FOREIGN)
    odd = Property(full(b"zoom", u32(9)))
    yield File("heic: unknown and essential", heif([coded(drawn(), odd)]), FOREIGN)
    odd = Property(odd.box, essential=False)
    yield File("heic: unknown and not essential", heif([coded(drawn(), odd)]), READ)


def _tables() -> Iterator[File]:
    sound = small()

    def with_count(kind: bytes, at: int, count: bytes) -> bytes:
        where = sound.index(kind) + at
        return sound[:where] + count + sound[where + len(count) :]

    yield File("heic: 65535 items claimed", with_count(b"iinf", 8, b"\xff\xff"), BROKEN)
    yield File("heic: 65535 places claimed", with_count(b"iloc", 10, b"\xff\xff"), BROKEN)
    yield File("heic: 2^32 associations claimed", with_count(b"ipma", 8, b"\xff" * 4), BROKEN)
    yield File("heic: numbers of 15 bytes", with_count(b"iloc", 8, b"\xff\xff"), BROKEN)
    yield File("heic: pieces of no bytes", with_count(b"iloc", 8, b"\0\0"), BROKEN)
    yield File("heic: no such primary", heif([coded(drawn())], primary=9), BROKEN)
    for kind in (b"infe", b"free"):
        entries = full(kind, u16(9) + bytes(2) + b"hvc1\0", version=2) * _MANY
        where = sound.index(b"iinf") - 4
        yield File(
            f"heic: {_MANY} times {kind.decode()}",
            sound[: where + 8] + u32(0) + u16(65_535) + entries + sound[where:],
            BROKEN,
        )
    tile = coded(drawn())
    everyone = Reference(b"cdsc", 2, [1] * 65_535)
    yield File("heic: 65535 references", heif([tile, xmp_item(b"<x/>")], [everyone]), BROKEN)
    twice = [Reference(b"dimg", 1, [2, 3]), Reference(b"dimg", 1, [3, 2])]
    yield File("heic: references twice", heif([grid(2, 1, 128, 64), tile, tile], twice), BROKEN)
    doubled = heif([tile], behind=full(b"pitm", u16(1)))
    yield File("heic: two primaries", doubled, BROKEN)
    many = [Property(box(b"free", u16(number))) for number in range(5_000)]
    items = [tile, *(Item(b"hvc1", b"", tuple(many[at : at + 200])) for at in range(0, 5_000, 200))]
    yield File("heic: 5000 properties", heif(items), BROKEN)
    # a reader of all pictures and all their metadata would copy gigabytes
    others = [coded(drawn(), profile(noise(200_000)))] * 900
    links = [Reference(b"cdsc", 901, range(1, 901))]
    yield File(
        "heic: 900 pictures of one XMP", heif([*others, xmp_item(bytes(2**18))], links), READ
    )
    links = [Reference(b"cdsc", 2, [1])]
    yield File("heic: XMP of 5 MB", heif([tile, xmp_item(bytes(5_000_000))], links), READ)
    yield File("heic: EXIF of 5 MB", heif([tile, exif_item(bytes(5_000_000))], links), READ)
    yield File(
        "heic: EXIF that starts beyond its end",
        heif([tile, Item(b"Exif", b"\xff" * 9)], links),
        READ,
    )


def _places() -> Iterator[File]:
    still = drawn()
    one = [coded(still)]
    far = {
        "at the end": lambda n, at, length: [(at + 1, length)],
        "beyond the end": lambda n, at, length: [(2**32 - 1, length)],
        "too long": lambda n, at, length: [(at, 2**32 - 1)],
        "of no length": lambda n, at, length: [(at, 0)],
        "in 65535 pieces": lambda n, at, length: [(at, 1)] * 65_535,
        "over and over": lambda n, at, length: [(0, at + length)] * 200,
        "nowhere": lambda n, at, length: [],
    }
    for name, pieces in far.items():
        yield File(f"heic: pixels {name}", heif(one, pieces=pieces), BROKEN)
    half = len(still.data) // 2
    apart = heif(one, pieces=lambda n, at, length: [(at, half), (at + half, length - half)])
    yield File("heic: pixels in two pieces", apart, READ)
    inside = heif(one, idat=still.data, method=1, pieces=lambda n, at, length: [(0, length)])
    yield File("heic: pixels in idat", inside, READ)
    yield File("heic: pixels beyond idat", heif(one, idat=still.data, method=1), BROKEN)
    yield File("heic: pixels in another item", heif(one, method=2), FOREIGN)
    yield File("heic: pixels in another file", heif(one, elsewhere=1), FOREIGN)
    long = Hevc(still.configuration, still.data + u32(1_000_000) + b"\x4e" + bytes(999_999), 64, 64)
    items = [grid(30, 30, 1920, 1920), coded(long)]
    yield File("heic: one tile 900 times", heif(items, [Reference(b"dimg", 1, [2] * 900)]), BROKEN)


def _grids() -> Iterator[File]:
    tile = coded(drawn())
    two = [tile, tile]
    to_both = [Reference(b"dimg", 1, [2, 3])]
    yield File("heic: grid", heif([grid(2, 1, 100, 64), *two], to_both), READ)
    for width, height in ((64, 64), (129, 64), (100, 65), (0, 64), (100, 0), (2**32 - 1, 64)):
        lying = heif([grid(2, 1, width, height), *two], to_both)
        yield File(f"heic: grid of {width}x{height}", lying, BROKEN)
    other = Item(b"grid", grid(2, 1, 100, 64).content, (ispe(128, 64),))
    yield File("heic: grid of two sizes", heif([other, *two], to_both), BROKEN)
    yield File("heic: grid of 256x256 tiles", heif([grid(256, 256, 9, 9), *two], to_both), BROKEN)
    all_of_them = [Reference(b"dimg", 1, [2] * 1_600)]
    yield File("heic: grid of 40x40", heif([grid(40, 40, 2560, 2560), tile], all_of_them), FOREIGN)
    yield File("heic: grid of nothing", heif([grid(2, 1, 100, 64), *two]), BROKEN)
    itself = [Reference(b"dimg", 1, [1, 1])]
    yield File("heic: grid of itself", heif([grid(2, 1, 100, 64)], itself), FOREIGN)
    circle = [Reference(b"dimg", 1, [2, 2]), Reference(b"dimg", 2, [1, 1])]
    grids = [grid(2, 1, 100, 64), grid(2, 1, 100, 64)]
    yield File("heic: grids in a circle", heif(grids, circle), FOREIGN)
    yield File(
        "heic: grid of what is not there",
        heif([grid(2, 1, 100, 64), *two], [Reference(b"dimg", 1, [2, 77])]),
        BROKEN,
    )
    unlike = [coded(drawn()), coded(drawn(128, 64))]
    yield File("heic: grid of unlike tiles", heif([grid(2, 1, 100, 64), *unlike], to_both), BROKEN)
    turned = [coded(drawn(), irot(1))] * 2
    yield File("heic: grid of turned tiles", heif([grid(2, 1, 100, 64), *turned], to_both), FOREIGN)
    wide = coded(drawn(4096, 4096, "L"))
    yield File(
        "heic: a tile for a pixel",
        heif([grid(1, 1, 1, 1), wide], [Reference(b"dimg", 1, [2])]),
        TOO_LARGE,
    )
    cut = coded(drawn(4096, 4096, "L"), clap(1, 1, 1, 1, 0, 1, 0, 1))
    yield File("heic: cut to a pixel", heif([cut]), TOO_LARGE)
    covers = [Reference(b"auxl", 2, [1])]
    unlike_alpha = coded(drawn(128, 64, "L"), aux())
    yield File("heic: alpha of another size", heif([tile, unlike_alpha], covers), FOREIGN)
    itself = [Reference(b"auxl", 1, [1])]
    yield File("heic: its own alpha", heif([coded(drawn(), aux())], itself), READ)
    alpha = coded(drawn(mode="L"), aux())
    premultiplied = [*covers, Reference(b"prem", 1, [2])]
    yield File("heic: premultiplied", heif([tile, alpha], premultiplied), READ)
    yield File(
        "heic: alpha turned otherwise",
        heif([tile, coded(drawn(mode="L"), aux(), irot(1))], covers),
        BROKEN,
    )
    for name, numbers in {
        "of nothing": (0, 1, 64, 1, 0, 1, 0, 1),
        "over nothing": (64, 0, 64, 0, 0, 0, 0, 0),
        "beyond the picture": (65, 1, 64, 1, 0, 1, 0, 1),
        "beside the picture": (60, 1, 64, 1, 3, 1, 0, 1),
        "far away": (8, 1, 8, 1, -(2**31), 1, 2**31 - 1, 1),
        "below zero": (-64, 1, 64, 1, 0, 1, 0, -1),
    }.items():
        yield File(f"heic: cut {name}", heif([coded(drawn(), clap(*numbers))]), BROKEN)
    yield File("heic: turned twice", heif([coded(drawn(), irot(1), irot(2))]), BROKEN)
    yield File("heic: turned and mirrored", heif([coded(drawn(), imir(0), irot(3))]), READ)


def _told() -> Iterator[File]:
    for name, transfer in (("PQ", 16), ("HLG", 18)):
        yield File(f"heic: {name}", heif([coded(drawn(), nclx(9, transfer, 9))]), READ)
    yield File(
        "heic: code points of nothing", heif([coded(drawn(), nclx(999, 999, 999))]), READ | BROKEN
    )
    yield File("heic: a profile of 3 MB", heif([coded(drawn(), profile(noise(3_000_000)))]), READ)
    yield File("heic: a profile of noise", heif([coded(drawn(), profile(noise(3_000)))]), READ)
