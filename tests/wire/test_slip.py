"""SLIP: whatever comes, in whatever pieces."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serialnet.wire.slip import Decoder, encode

special = st.sampled_from([b"\xc0", b"\xdb", b"\xdc", b"\xdd", b"\xdb\xdc", b"\xdb\xdd"])
payloads = st.lists(st.one_of(special, st.binary(max_size=8)), max_size=12).map(b"".join)


def decode_in_pieces(stream: bytes, cuts: list[int], max_frame: int) -> list[bytes]:
    decoder = Decoder(max_frame)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    pieces = (stream[a:b] for a, b in pairwise(edges))
    return [frame for piece in pieces for frame in decoder.receive(piece)]


@given(st.lists(payloads.filter(bool)), st.lists(st.integers(min_value=0)))
def test_what_was_framed_comes_back_however_it_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    assert decode_in_pieces(b"".join(map(encode, frames)), cuts, max_frame=200) == frames


@given(payloads, st.lists(st.integers(min_value=0)))
def test_cuts_never_matter_not_even_in_noise(stream: bytes, cuts: list[int]) -> None:
    assert decode_in_pieces(stream, cuts, max_frame=6) == list(Decoder(6).receive(stream))


@pytest.mark.parametrize(
    ("stream", "frames"),
    [
        (b"\xc0\xc0\xc0", []),
        (b"noise\xc0ok\xc0", [b"noise", b"ok"]),
        (b"\xc0a\xdb\xdcb\xdb\xddc\xc0", [b"a\xc0b\xdbc"]),
        (b"\xc0\xdb\xdd\xdc\xc0", [b"\xdb\xdc"]),
        (b"\xc0bad\xdbx\xc0ok\xc0", [b"ok"]),
        (b"\xc0bad\xdb\xc0ok\xc0", [b"ok"]),
        (b"\xc0" + b"x" * 8 + b"\xc0", [b"x" * 8]),
        (b"\xc0" + b"\xdb\xdc" * 8 + b"\xc0", [b"\xc0" * 8]),
        (b"\xc0" + b"x" * 9 + b"\xc0ok\xc0", [b"ok"]),
        (b"\xc0" + b"x" * 1000 + b"\xc0ok\xc0", [b"ok"]),
    ],
)
def test_damage_costs_one_frame(stream: bytes, frames: list[bytes]) -> None:
    assert list(Decoder(8).receive(stream)) == frames


def test_an_endless_frame_takes_no_memory() -> None:
    decoder = Decoder(100)
    for _ in range(1000):
        assert list(decoder.receive(b"x" * 100)) == []
    assert len(decoder._partial) <= 200
    assert list(decoder.receive(b"\xc0ok\xc0")) == [b"ok"]
