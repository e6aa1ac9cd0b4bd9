"""IPTC records, wrapped and unwrapped."""

import pytest

from app.imaging.iptc import from_text, jpeg_segment, resource, to_text

RECORDS = b"\x1c\x02\x78\x00\x07caption"


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:-1], RECORDS * 400])
def test_a_text_holds_them(records: bytes) -> None:
    assert from_text(to_text(records)) == records


def test_a_text_without_a_wrapping() -> None:
    assert from_text(f"\niptc\n{len(RECORDS):8d}\n{RECORDS.hex()}\n") == RECORDS


@pytest.mark.parametrize(
    "text", ["", "iptc", "\niptc\n 3\nxyz\n", "\niptc\n 3\nffffff\n", "\niptc\n 9\n" + "00" * 40]
)
def test_a_text_of_something_else(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of ours and of bytes.fromhex)
        from_text(text)


def test_segments_and_resources_have_even_lengths() -> None:
    assert len(resource(RECORDS)) % 2 == len(resource(RECORDS + b"x")) % 2 == 0
    segment = jpeg_segment(RECORDS)
    assert segment[:2] == b"\xff\xed"
    assert int.from_bytes(segment[2:4], "big") == len(segment) - 2
