"""No file, however made, does more than be refused: no crash, no wait, no flood of memory."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from app.imaging.decode import quieten_readers
from tests.conftest import REPOSITORY
from tests.hostile import HostileFile, corpus, jpeg, png
from tests.hostile.made import directory, encoded, picture
from tests.hostile.mutants import mutant, seeds
from tests.hostile.tiff import grey
from tests.hostile.trial import FORMATS, STATUSES, assert_encodes, status_of

MUTANTS = 4_000
_AT_ONCE = 200
_MOST_SECONDS = 2
_MOST_BYTES = 64_000_000  # more than before; the largest file has 8 MB

# hypothesis would remember what it saw of the code in the checkout, from the collection on
set_hypothesis_home_dir(os.devnull)
quietly = settings(max_examples=300, deadline=None, derandomize=True, database=None)
MAGIC = [
    b"",
    b"\xff\xd8\xff",
    png.MAGIC,
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"GIF89a",
    b"\0\0\0\x18ftypavif\0\0\0\0mif1avif",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
]


@pytest.fixture(autouse=True)
def _as_in_the_service() -> None:
    """All but Pillow's warnings remain errors."""
    quieten_readers()


@pytest.mark.parametrize("file", corpus(), ids=lambda file: file.name)
def test_a_hostile_file_is_read_or_refused_as_it_deserves(file: HostileFile) -> None:
    status, photo = status_of(file.data)
    assert status in file.statuses
    if photo is not None:
        for wanted in FORMATS:
            for strip_metadata in (False, True):
                assert_encodes(photo, wanted, strip_metadata=strip_metadata)


def test_the_corpus_is_the_same_every_time() -> None:
    from tests.hostile import _corpus

    again = _corpus.__wrapped__()
    assert len(again) == len(corpus()) >= 70
    assert [a.name for a, b in zip(again, corpus(), strict=True) if a != b] == []


_MEASURE = """
import json, pickle, resource, sys, time
from app.imaging.decode import decode, measure
from app.errors import ServiceError

def tried(data):
    start = time.perf_counter()
    for step in (measure, decode):
        try: step(data, 40_000_000)
        except ServiceError: pass
    return time.perf_counter() - start

def peak():
    # ru_maxrss would start at what the parent has
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

load = lambda: pickle.load(sys.stdin.buffer)
for data in load():
    tried(data)  # what is loaded once is no file's fault
before = peak()
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
# an error, rather than all of the machine's memory
resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, size + 2**31))
for _ in range(load()):
    name, data = load()
    seconds = tried(data)
    print(json.dumps([name, seconds, peak() - before]), flush=True)
"""


def test_no_hostile_file_takes_long_or_much_memory() -> None:
    """In a process of its own: only its peak tells what libraries in C allocate, too.

    It is sent one file after the other, so that it has freed no memory to hide a bomb in.  HEIC is
    libheif's to parse, and bounded by its process alone.
    """
    files = [file for file in corpus() if not file.name.startswith("heic")]
    sent = [[*seeds().values()], len(files), *((file.name, file.data) for file in files)]
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        input=b"".join(map(pickle.dumps, sent)),
        timeout=240,
    )
    measured = [json.loads(line) for line in ended.stdout.splitlines()]
    names = [file.name for file in files]
    last = measured[-1][0] if measured else "none"
    assert ended.returncode == 0, f"after {last!r}: {ended.stderr[-2000:].decode(errors='replace')}"
    assert [name for name, _, _ in measured] == names
    assert [(name, seconds) for name, seconds, _ in measured if seconds > _MOST_SECONDS] == []
    # the peak only rises: the first file beyond the limit is the culprit
    assert [(name, more) for name, _, more in measured if more > _MOST_BYTES][:1] == []


@pytest.mark.parametrize("first", range(0, MUTANTS, _AT_ONCE))
def test_mutants_are_refused_or_read(first: int) -> None:
    for number in range(first, first + _AT_ONCE):
        name, data = mutant(number)
        try:
            status, photo = status_of(data)
            assert status == 200 or status in STATUSES
            if photo is not None:
                wanted = FORMATS[number // 7 % len(FORMATS)]
                assert_encodes(photo, wanted, strip_metadata=number % 2 == 0)
        except Exception as error:
            again = f"tests.hostile.mutants.mutant({number}), made of {name!r}"
            raise AssertionError(f"{again}: {type(error).__name__}: {error}") from error


@quietly
@given(st.sampled_from(MAGIC), st.binary(max_size=2_000))
def test_any_bytes_are_refused_or_read(magic: bytes, rest: bytes) -> None:
    status_of(magic + rest)


_entries = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from([256, 257, 258, 259, 262, 271, 273, 274, 277, 278, 282, 296, 322, 700]),
            st.sampled_from([33_432, 34_665, 34_675, 34_853, 36_867, 37_386, 37_500, 40_965]),
            st.integers(0, 65_535),
        ),
        st.integers(0, 18),
        st.one_of(st.integers(0, 8), st.integers(0, 2**32 - 1)),
        st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1)),
    ),
    max_size=12,
)


@quietly
@given(_entries, st.binary(max_size=300), st.sampled_from("<>"), st.integers(0, 2**32 - 1))
@example([(256, 0, 0, 0)] * 4 + [(34665, 16, 1, 0)], b"", "<", 0)  # eight bytes, where four fit
def test_no_exif_costs_the_photo(
    entries: list[tuple[int, int, int, int]], behind: bytes, order: str, further: int
) -> None:
    block = directory([*entries], behind, order=order, further=further)
    for data in (
        jpeg.with_segments(JPEG, jpeg.segment(0xE1, b"Exif\0\0" + block)),
        png.png(png.chunk(b"eXIf", block), width=4, height=4),
        encoded(SMALL, "WEBP", exif=block),
    ):
        status, photo = status_of(data)
        assert status == 200
        assert photo is not None
        assert_encodes(photo, "same", strip_metadata=False)


@quietly
@given(_entries, st.sampled_from("<>"))
def test_no_directory_of_a_tiff_does_harm(
    entries: list[tuple[int, int, int, int]], order: str
) -> None:
    status, photo = status_of(grey(24, 20, *entries, order=order))
    if photo is not None:
        assert status == 200
        assert_encodes(photo, "same", strip_metadata=False)


@quietly
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                b"PLTE tRNS iCCP eXIf tEXt zTXt iTXt gAMA cHRM sRGB pHYs".split()
                + b"acTL fcTL fdAT IDAT bKGD IHDR xxxx XXXX".split()
            ),
            st.binary(max_size=60),
        ),
        max_size=6,
    ),
    st.sampled_from([(8, 0), (16, 0), (1, 0), (8, 2), (16, 2), (8, 3), (1, 3), (8, 4), (8, 6)]),
)
def test_no_chunks_of_a_png_do_harm(
    chunks: list[tuple[bytes, bytes]], depth: tuple[int, int]
) -> None:
    made = [png.chunk(kind, data) for kind, data in chunks]
    status, photo = status_of(png.png(*made, width=6, height=5, bits=depth[0], colours=depth[1]))
    if photo is not None:
        assert status == 200
        assert_encodes(photo, "same", strip_metadata=False)


SMALL = picture("RGB", 4, 4)
JPEG = encoded(SMALL, "JPEG")
