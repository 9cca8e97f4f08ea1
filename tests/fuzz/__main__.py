"""`make fuzz`: the readers of `targets.py` against bytes that are found by what they reach.

With atheris (`pip install 'ax-monitor[fuzz]'`) the mutations are guided by coverage; without it
they are blind. Every target runs in a process of its own. What made one fail is in
`build/fuzz/NAME/crash-*`; `python -m tests.fuzz NAME FILE` runs it again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
INPUT_S = 20  # an input that takes longer is a failure
MAX_BYTES = 4096
# Of the targets, which are imported later.
NAMES = ("ring", "replay", "import", "search", "headers", "rules", "metadata")


def main() -> int:
    """Run targets one after the other; 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, help="one target (default: all)")
    parser.add_argument("file", nargs="?", help="run this input, and nothing else")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file is not None:
        from tests.fuzz.targets import TARGETS

        TARGETS[options.name].run(Path(options.file).read_bytes())
        return 0
    if options.here:
        guided = importlib.util.find_spec("atheris") is not None
        return (_guided if guided else _blind)(options.name, options.seconds)
    failed = []
    for name in [options.name] if options.name else NAMES:
        command = [sys.executable, "-m", "tests.fuzz", name, "--here"]
        limit_s = options.seconds + 120
        done = subprocess.run(
            [*command, "--seconds", str(options.seconds)], cwd=ROOT, timeout=limit_s, check=False
        )
        print(f"{name}: {'FAILED' if done.returncode else 'nothing found'}", flush=True)
        failed += [name] if done.returncode else []
    return 1 if failed else 0


def _folder(name: str) -> Path:
    folder = BUILD / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    return folder


def _guided(name: str, seconds: int) -> int:
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["ax_monitor", "tests.fuzz"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    folder = _folder(name)
    for seed in target.seeds():
        (folder / "corpus" / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    arguments = [
        sys.argv[0],
        str(folder / "corpus"),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={folder}/",
        f"-timeout={INPUT_S}",
        f"-max_len={MAX_BYTES}",
        "-rss_limit_mb=4096",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup(arguments, target.run)
    atheris.Fuzz()  # ends the process
    return 0


def _blind(name: str, seconds: int) -> int:
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    seeds = list(target.seeds())
    rng = random.Random()
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        data = mutated(rng, seeds)
        count += 1
        try:
            target.run(data)
        except Exception:
            path = _folder(name) / f"crash-{hashlib.sha1(data).hexdigest()}"
            path.write_bytes(data)
            traceback.print_exc()
            print(f"{path} holds the input", file=sys.stderr)
            return 1
    print(f"{name}: {count} inputs, without coverage (atheris is not installed)")
    return 0


def mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A seed with some changes, or a piece of another in it."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        other = rng.choice(seeds)
        begin = rng.randrange(len(other) + 1)
        piece = rng.choice(
            [
                rng.randbytes(rng.randint(1, 8)),
                bytes([rng.choice(b"\0\x01\x7f\x80\xff \"'\\\n:-{}[]()*")]),
                other[begin : begin + rng.randint(1, 64)],
                data[at : at + rng.randint(1, 16)],
            ]
        )
        data[at : at + rng.choice([0, 0, 1, len(piece)])] = piece
    return bytes(data[:MAX_BYTES])


if __name__ == "__main__":
    sys.exit(main())
