"""What the specifications say about tracestates, in plain Python, and strategies for them."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import strategies as st

__all__ = ["Read", "read", "states", "thresholds", "written"]

MAX = 1 << 56
SUB_KEY = re.compile(rb"[a-z][a-z0-9]*:[A-Za-z0-9._-]*")


class Read(NamedTuple):
    randomness: int
    threshold: int | None
    """Consistent with the randomness; None: there is none."""
    refused: bool


def members(state: bytes) -> list[bytes]:
    return [member for each in state.split(b",") if (member := each.strip(b" \t"))]


def ot_value(state: bytes) -> bytes | None:
    return next((each[3:] for each in members(state) if each.startswith(b"ot=")), None)


def _numbers(value: bytes, key: bytes, form: bytes) -> tuple[list[int], bool]:
    texts = [each[3:] for each in value.split(b";") if each.startswith(key + b":")]
    good = [int(text.ljust(14, b"0"), 16) for text in texts if re.fullmatch(form, text)]
    return good, bool(texts) and (len(texts) > 1 or not good)


def read(state: bytes, low: int) -> Read:
    """Of a span whose trace id's last 8 bytes are ``low``."""
    value = ot_value(state) or b""
    th, wrong = _numbers(value, b"th", rb"[0-9a-f]{1,14}")
    rv, wrong_too = _numbers(value, b"rv", rb"[0-9a-f]{14}")
    randomness = rv[0] if rv else low % MAX
    inconsistent = bool(th) and th[0] > randomness
    threshold = th[0] if th and not inconsistent else None
    return Read(randomness, threshold, wrong or wrong_too or inconsistent)


def written(state: bytes, low: int, given: int) -> tuple[bytes, bool]:
    """The tracestate after sampling at ``given``, and whether something was cut off it."""
    value = ot_value(state) or b""
    th, _ = _numbers(value, b"th", rb"[0-9a-f]{1,14}")
    rv, _ = _numbers(value, b"rv", rb"[0-9a-f]{14}")
    subs = value.split(b";")
    mentions = sum(each.startswith(b"th:") for each in subs)
    clear = mentions < 2 and sum(each.startswith(b"ot=") for each in members(state)) < 2
    if given >= MAX:
        if clear and not mentions:
            return state, False
        first = []
    else:
        wanted = max(given, read(state, low).threshold or 0)
        if clear and th and th[0] == wanted:
            return state, False
        first = [b"th:" + (f"{wanted:014x}".rstrip("0") or "0").encode()]
    if rv:
        first.append(b"rv:%014x" % rv[0])
    others = [
        each for each in subs if SUB_KEY.fullmatch(each) and not each.startswith((b"th:", b"rv:"))
    ]
    cut = False
    while len(b";".join(first + others)) > 256:
        others.pop()
        cut = True
    ours = [b"ot=" + b";".join(first + others)] if first or others else []
    foreign = [each for each in members(state) if not each.startswith(b"ot=")]
    return b",".join((ours + foreign)[:32]), cut or len(ours + foreign) > 32


digits = st.text("0123456789abcdef", max_size=15)
thresholds = st.one_of(
    st.sampled_from([0, 1, MAX // 2, 0xE6660000000000, MAX - 1, MAX, (1 << 64) - 1]),
    st.integers(0, MAX - 1),
)
subs = st.one_of(
    st.sampled_from(["th:0", "th:8", "th:800", "th:c", "th:G", "th:", "th", "rv", "", ":", "a1:"]),
    digits.map(lambda text: f"th:{text}"),
    st.text("0123456789abcdef", min_size=14, max_size=14).map(lambda text: f"rv:{text}"),
    digits.map(lambda text: f"rv:{text}"),
    st.sampled_from(["p:8", "r:62", "foo:Bar-1_2.", "1a:b", "thx:1", "x:ü", "A:1", "b c:1", "k:="]),
    st.integers(90, 200).map(lambda size: "l:" + "x" * size),
)
ot_members = st.lists(subs, max_size=5).map(lambda each: "ot=" + ";".join(each))
foreign_members = st.one_of(
    st.sampled_from(
        ["", " ", "congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7", "t@ot=th:8", "otx=1", "ot", "o=t"]
    ),
    st.sampled_from(["ot =th:8", "OT=th:8", "a=b=c", "\x00", "k=ключ", "x" * 300 + "=1"]),
    st.text(max_size=6),
)
padded = st.tuples(
    st.sampled_from(["", "", " ", "\t "]), st.one_of(ot_members, foreign_members)
).map("".join)
states = st.one_of(
    st.just(""),
    ot_members,
    st.lists(padded, max_size=5).map(",".join),
    st.lists(padded, max_size=5).map(" ,".join),
    st.tuples(st.integers(29, 35), ot_members).map(
        lambda x: ",".join([f"k{n}=v" for n in range(x[0])] + [x[1]])
    ),
)
"""Tracestates: well-formed ones, wrong ones, and such at the limits."""
