"""The behaviour cases of the Autobahn test-suite's published list that frames alone decide: sections 1 to 7 and 10.

Written from the published descriptions. A case is what the peer sends, what has to be told of it, and the close code
with which the connection fails, if it does. What an endpoint answers (echo, pong, close) is the engine's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.protocols.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame


class Case(NamedTuple):
    number: str
    frames: list[Frame]
    events: list[tuple[Any, ...]]


def fragments(kind: int, *parts: bytes) -> list[Frame]:
    last = len(parts) - 1
    return [Frame(kind if n == 0 else CONTINUATION, part, n == last) for n, part in enumerate(parts)]


def message(kind: int, payload: bytes) -> tuple[Any, ...]:
    return ("message", kind, payload.decode() if kind == TEXT else payload)


HELLO = b"Hello, world!"
SAID = message(TEXT, HELLO)
BYTES = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
ENDED = Frame(CLOSE, (1000).to_bytes(2, "big"))
CLOSED = ("close", 1000, "")
BROKEN = ("fail", 1002)
NOT_TEXT = ("fail", 1007)


def section_1() -> list[Case]:
    cases = []
    for group, kind, filler in ((1, TEXT, b"*"), (2, BINARY, b"\xfe")):
        for number, size in enumerate((0, 125, 126, 127, 128, 65535, 65536, 65536), 1):
            payload = filler * size
            cases.append(Case(f"1.{group}.{number}", [Frame(kind, payload), ENDED], [message(kind, payload), CLOSED]))
    return cases


def section_2() -> list[Case]:
    ping = [(2, HELLO), (3, BYTES), (1, b""), (4, b"\xfe" * 125), (6, b"\xfe" * 125)]
    many = [f"payload-{n}".encode() for n in range(10)]
    return [
        *(Case(f"2.{n}", [Frame(PING, payload)], [("ping", payload)]) for n, payload in ping),
        Case("2.5", [Frame(PING, b"\xfe" * 126)], [BROKEN]),
        Case("2.7", [Frame(PONG), ENDED], [("pong", b""), CLOSED]),
        Case("2.8", [Frame(PONG, b"unsolicited"), ENDED], [("pong", b"unsolicited"), CLOSED]),
        Case("2.9", [Frame(PONG, b"x"), Frame(PING, b"y")], [("pong", b"x"), ("ping", b"y")]),
        Case("2.10", [Frame(PING, p) for p in many], [("ping", p) for p in many]),
        Case("2.11", [Frame(PING, p) for p in many], [("ping", p) for p in many]),
    ]


def section_3() -> list[Case]:
    return [
        Case("3.1", [Frame(TEXT, HELLO, rsv=1)], [BROKEN]),
        *(
            Case(f"3.{rsv}", [Frame(TEXT, HELLO), Frame(TEXT, HELLO, rsv=rsv), Frame(PING)], [SAID, BROKEN])
            for rsv in (2, 3, 4)
        ),
        Case("3.5", [Frame(BINARY, BYTES, rsv=5)], [BROKEN]),
        Case("3.6", [Frame(PING, HELLO, rsv=6)], [BROKEN]),
        Case("3.7", [Frame(CLOSE, b"", rsv=7)], [BROKEN]),
    ]


def section_4() -> list[Case]:
    cases = []
    for group, first in ((1, 3), (2, 11)):
        cases += [
            Case(f"4.{group}.1", [Frame(first)], [BROKEN]),
            Case(f"4.{group}.2", [Frame(first + 1, b"reserved opcode payload")], [BROKEN]),
            *(
                Case(
                    f"4.{group}.{n}",
                    [Frame(TEXT, HELLO), Frame(first + n - 1, HELLO if n > 3 else b""), Frame(PING)],
                    [SAID, BROKEN],
                )
                for n in (3, 4, 5)
            ),
        ]
    return cases


def section_5() -> list[Case]:
    two = fragments(TEXT, b"fragment1", b"fragment2")
    said = message(TEXT, b"fragment1fragment2")
    between = [two[0], Frame(PING, b"ping"), two[1]]
    five = fragments(TEXT, *(f"fragment{n}".encode() for n in range(1, 6)))
    stray, open_stray = Frame(CONTINUATION, b"stray"), Frame(CONTINUATION, b"stray", False)
    cases = [
        Case("5.1", fragments(PING, b"fragment1", b"fragment2"), [BROKEN]),
        Case("5.2", fragments(PONG, b"fragment1", b"fragment2"), [BROKEN]),
    ]
    for n in (3, 4, 5):
        cases.append(Case(f"5.{n}", two, [said]))
        cases.append(Case(f"5.{n + 3}", between, [("ping", b"ping"), said]))
        cases.append(Case(f"5.{n + 6}", [stray, Frame(TEXT, HELLO)], [BROKEN]))
        cases.append(Case(f"5.{n + 9}", [open_stray, Frame(TEXT, HELLO)], [BROKEN]))
    pinged = [*five[:2], Frame(PING, b"1"), *five[2:4], Frame(PING, b"2"), five[4]]
    whole = message(TEXT, b"".join(frame.payload for frame in five))
    cases += [
        Case("5.15", [*two, open_stray, Frame(TEXT, HELLO)], [said, BROKEN]),
        Case("5.16", [open_stray, Frame(TEXT, HELLO), stray], [BROKEN]),
        Case("5.17", [stray, Frame(TEXT, HELLO, False), stray], [BROKEN]),
        Case("5.18", [Frame(TEXT, b"fragment1", False), Frame(TEXT, b"fragment2")], [BROKEN]),
        Case("5.19", pinged, [("ping", b"1"), ("ping", b"2"), whole]),
        Case("5.20", pinged, [("ping", b"1"), ("ping", b"2"), whole]),
    ]
    return cases


COSMOS = "κόσμε".encode()
EDITED = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"
GREETING = "Hello-µ@ßöäüàá-UTF-8!!".encode()
LONELY = [range(0xC0, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF8), range(0xF8, 0xFC), range(0xFC, 0xFE)]
CUT_OFF = ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"]
NONCHARACTERS = [chr(plane << 16 | low).encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)]

#: Texts of section 6, in the order of the list: those of one group, and whether they are UTF-8.
TEXTS: dict[str, list[bytes]] = {
    "6.5": [
        b"Hello",
        "한글".encode(),
        "日本語".encode(),
        COSMOS,
        GREETING,
    ],
    "6.6": [COSMOS[:n] for n in range(1, 12)],
    "6.7": [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    "6.8": [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    "6.9": [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    "6.10": [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    "6.11": [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", b"\xf4\x90\x80\x80"],
    "6.12": [b"\x80", b"\xbf", *((b"\x80\xbf" * 4)[:n] for n in range(2, 8)), bytes(range(0x80, 0xC0))],
    "6.13": [b"".join(bytes((lead, 0x20)) for lead in leads) for leads in LONELY],
    "6.14": [bytes.fromhex(text) for text in CUT_OFF],
    "6.15": [b"".join(bytes.fromhex(text) for text in CUT_OFF)],
    "6.16": [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    "6.17": [bytes.fromhex(t) for t in ("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af")],
    "6.18": [bytes.fromhex(t) for t in ("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf")],
    "6.19": [bytes.fromhex(t) for t in ("c080", "e08080", "f0808080", "f880808080", "fc8080808080")],
    "6.20": [bytes.fromhex(t) for t in ("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf")],
    "6.21": [
        bytes.fromhex(high + low) for high in ("eda080", "edadbf", "edae80", "edafbf") for low in ("edb080", "edbfbf")
    ],
    "6.22": NONCHARACTERS,
    "6.23": [bytes.fromhex(f"efbfb{n:x}") for n in (9, 10, 11, 12, 13, 14, 15)],
}


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def section_6() -> list[Case]:
    said = message(TEXT, GREETING)
    octets = [GREETING[n : n + 1] for n in range(len(GREETING))]
    empty = message(TEXT, b"")
    bad = fragments(TEXT, *(EDITED[n : n + 1] for n in range(len(EDITED))))
    late = fragments(TEXT, COSMOS, b"\xf4\x90\x80\x80", b"edited")
    cases = [
        Case("6.1.1", [Frame(TEXT)], [empty]),
        Case("6.1.2", fragments(TEXT, b"", b"", b""), [empty]),
        Case("6.1.3", fragments(TEXT, b"", b"middle frame payload", b""), [message(TEXT, b"middle frame payload")]),
        Case("6.2.1", [Frame(TEXT, GREETING)], [said]),
        Case("6.2.2", fragments(TEXT, GREETING[:12], GREETING[12:]), [said]),
        Case("6.2.3", fragments(TEXT, *octets), [said]),
        Case("6.2.4", fragments(TEXT, *octets), [said]),
        Case("6.3.1", [Frame(TEXT, EDITED)], [NOT_TEXT]),
        Case("6.3.2", bad, [NOT_TEXT]),
        Case("6.4.1", late, [NOT_TEXT]),
        Case("6.4.2", fragments(TEXT, COSMOS + b"\xf4", b"\x90", b"\x80\x80edited"), [NOT_TEXT]),
        Case("6.4.3", [Frame(TEXT, COSMOS + b"\xf4\x90\x80\x80edited")], [NOT_TEXT]),
        Case("6.4.4", [Frame(TEXT, COSMOS + b"\xf4\x90\x80\x80edited")], [NOT_TEXT]),
    ]
    for group, texts in TEXTS.items():
        for number, text in enumerate(texts, 1):
            told = message(TEXT, text) if is_utf8(text) else NOT_TEXT
            cases.append(Case(f"{group}.{number}", [Frame(TEXT, text)], [told]))
    return cases


def code(number: int, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, number.to_bytes(2, "big") + reason)


def section_7() -> list[Case]:
    bad_reason = "κόσμε".encode() + b"\xed\xa0\x80edited"
    good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
    bad = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
    longest = b"*" * 123
    return [
        Case("7.1.1", [Frame(TEXT, HELLO), ENDED], [SAID, CLOSED]),
        Case("7.1.2", [ENDED, ENDED], [CLOSED]),
        Case("7.1.3", [ENDED, Frame(PING, HELLO)], [CLOSED]),
        Case("7.1.4", [ENDED, Frame(TEXT, HELLO)], [CLOSED]),
        Case("7.1.5", [Frame(TEXT, b"fragment1", False), ENDED, Frame(CONTINUATION, b"fragment2")], [CLOSED]),
        Case(
            "7.1.6",
            [Frame(TEXT, b"*" * 262144), Frame(TEXT, HELLO), ENDED, Frame(PING)],
            [message(TEXT, b"*" * 262144), SAID, CLOSED],
        ),
        Case("7.3.1", [Frame(CLOSE)], [("close", 1005, "")]),
        Case("7.3.2", [Frame(CLOSE, b"a")], [BROKEN]),
        Case("7.3.3", [ENDED], [CLOSED]),
        Case("7.3.4", [code(1000, HELLO)], [("close", 1000, HELLO.decode())]),
        Case("7.3.5", [code(1000, longest)], [("close", 1000, longest.decode())]),
        Case("7.3.6", [code(1000, longest + b"*")], [BROKEN]),
        Case("7.5.1", [code(1000, bad_reason)], [NOT_TEXT]),
        *(Case(f"7.7.{n}", [code(number)], [("close", number, "")]) for n, number in enumerate(good, 1)),
        *(Case(f"7.9.{n}", [code(number)], [BROKEN]) for n, number in enumerate(bad, 1)),
        Case("7.13.1", [code(5000)], [BROKEN]),
        Case("7.13.2", [code(65535)], [BROKEN]),
    ]


def section_10() -> list[Case]:
    payload = b"*" * 65536
    parts = [payload[n : n + 1300] for n in range(0, len(payload), 1300)]
    return [Case("10.1.1", fragments(TEXT, *parts), [message(TEXT, payload)])]


CASES = [
    *section_1(),
    *section_2(),
    *section_3(),
    *section_4(),
    *section_5(),
    *section_6(),
    *section_7(),
    *section_10(),
]
