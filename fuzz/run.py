"""Runs the fuzz targets for longer than the suite does: ``python -m fuzz.run [inputs per target] [target ...]``.

Each input is a piece of the target's corpus, changed in a few places. The seed is printed, and with it the input that
failed, as hexadecimal digits.
"""

from __future__ import annotations

import random
import sys
import time
from importlib import import_module
from pathlib import Path

_CORPORA = Path(__file__).parent / "corpus"
_WORDS = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\r\n",
    b",",
    b";",
    b'"',
)


def changed(random_source: random.Random, corpus: list[bytes]) -> bytes:
    """A piece of the corpus with one to four changes."""
    data = bytearray(random_source.choice(corpus))
    for _ in range(random_source.randint(1, 4)):
        place = random_source.randint(0, len(data))
        match random_source.randrange(6):
            case 0 if data:
                data[place % len(data)] ^= 1 << random_source.randrange(8)
            case 1:
                del data[place : place + random_source.randint(1, 8)]
            case 2:
                data[place:place] = random_source.choice(_WORDS)
            case 3:
                data[place:place] = random_source.randbytes(random_source.randint(1, 8))
            case 4:
                other = random_source.choice(corpus)
                data[place:] = other[random_source.randint(0, len(other)) :]
            case _:
                data[place:place] = data[random_source.randint(0, place) : place][:64]
    return bytes(data)


def corpus_of(name: str) -> list[bytes]:
    """The pieces of a target, and those of the targets that it names in ``ALSO``."""
    names = (name, *getattr(import_module(f"fuzz.{name}"), "ALSO", ()))
    return [path.read_bytes() for each in names for path in sorted((_CORPORA / each).iterdir())]


def main(arguments: list[str]) -> int:
    """Run; 1 where an input failed."""
    count = int(arguments[0]) if arguments else 20_000
    names = arguments[1:] or sorted(path.name for path in _CORPORA.iterdir())
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {count} inputs for each target")
    random_source = random.Random(seed)
    for name in names:
        one_input = import_module(f"fuzz.{name}").one_input
        corpus = corpus_of(name)
        began = time.monotonic()
        for _ in range(count):
            data = changed(random_source, corpus)
            try:
                one_input(data)
            except Exception:
                print(f"{name}: failed with {data.hex()}", file=sys.stderr)
                raise
        print(f"{name}: {count} inputs in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
