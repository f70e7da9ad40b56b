"""Escaping and unescaping, in bulk, against the slow way."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serialnet.wire.escaping import NvtDecoder, NvtEncoder, escape, split

# Runs of 0xFF of all lengths around the thresholds, and other bytes.
data = st.lists(
    st.integers(0, 4000).map(lambda n: b"\xff" * n)
    | st.integers(0, 70).map(lambda n: b"\xff" * n)
    | st.binary(max_size=8)
    | st.integers(0, 600).map(lambda n: b"a" * n),
    max_size=8,
).map(b"".join)


@given(data)
def test_each_iac_is_doubled(raw: bytes) -> None:
    assert escape(raw) == b"".join(b"\xff\xff" if byte == 255 else bytes((byte,)) for byte in raw)


@given(data, data)
def test_the_escaped_halves_are_the_escaped_whole(a: bytes, b: bytes) -> None:
    assert escape(a) + escape(b) == escape(a + b)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_escaped(kind: type[bytes | bytearray | memoryview]) -> None:
    assert escape(kind(b"a\xffb")) == b"a\xff\xffb"


def slow_split(wire: bytes, start: int) -> tuple[bytes, int]:
    found = bytearray()
    while start < len(wire):
        if wire[start] == 255:
            if wire[start + 1 : start + 2] != b"\xff":
                break
            start += 1
        found.append(wire[start])
        start += 1
    return bytes(found), start


@given(data, st.sampled_from([b"", b"\xff", b"\xff\xf1", b"\xff\xfb", b"\xff\xfb\xff"]), data, st.booleans())
@example(b"\xff" * 5000, b"\xff", b"", False)
@example(b"a" * 255 + b"\xff" * 256, b"\xff\xf1", b"\xff" * 700, True)
def test_data_is_split_from_what_follows(before: bytes, command: bytes, after: bytes, offset: bool) -> None:
    prefix = b"\xff\xf1" if offset else b""
    wire = prefix + escape(before) + command + (escape(after) if len(command) > 1 else b"")
    assert split(wire, len(prefix)) == slow_split(wire, len(prefix))


@given(st.binary() | st.lists(st.sampled_from([b"\xff", b"\xf1", b"a" * 100])).map(b"".join))
def test_anything_is_split(wire: bytes) -> None:
    assert split(wire) == slow_split(wire, 0)


def test_data_without_iac_is_not_copied() -> None:
    raw = b"x" * 100_000
    assert split(raw)[0] is raw
    assert escape(raw) is raw


nvt_text = st.lists(st.sampled_from([b"\r", b"\n", b"\0", b"a"])).map(b"".join)


@given(st.lists(nvt_text))
def test_nvt_text_comes_back(chunks: list[bytes]) -> None:
    encoder, decoder = NvtEncoder(), NvtDecoder()
    assert b"".join(decoder.decode(encoder.encode(chunk)) for chunk in chunks) == b"".join(chunks)


@given(nvt_text, st.data())
def test_cuts_do_not_change_nvt_text(wire: bytes, cuts: st.DataObject) -> None:
    cut = cuts.draw(st.integers(0, len(wire)))
    decoder = NvtDecoder()
    assert decoder.decode(wire[:cut]) + decoder.decode(wire[cut:]) == NvtDecoder().decode(wire)
    encoder = NvtEncoder()
    assert encoder.encode(wire[:cut]) + encoder.encode(wire[cut:]) == NvtEncoder().encode(wire)


@pytest.mark.parametrize(
    ("plain", "encoded"),
    [
        (b"a\rb", b"a\r\0b"),
        (b"a\r\nb", b"a\r\nb"),
        (b"a\nb", b"a\nb"),
        (b"\r\r\n", b"\r\0\r\n"),
        (b"\r\0", b"\r\0\0"),
    ],
)
def test_a_bare_cr_has_a_nul_behind_it(plain: bytes, encoded: bytes) -> None:
    assert NvtEncoder().encode(plain) == encoded
    assert NvtDecoder().decode(encoded) == plain


def test_a_cr_at_the_end_is_not_held_back() -> None:
    assert NvtEncoder().encode(b"a\r") == b"a\r"
    decoder = NvtDecoder()
    assert decoder.decode(b"a\r") == b"a\r"
    assert decoder.decode(b"\0") == b""
    assert decoder.decode(b"\0") == b"\0"
