"""Lists the extensions; everything else is in pyproject.toml.

The module name is the path below ``ext/``, so there is no table to forget:
``ext/ax_monitor/_native/ring.pyx`` builds ``ax_monitor._native.ring``.
``AX_MONITOR_BUILD=debug`` builds without optimisation and with every check that Cython has, for the
tests; but for overflow: the hashes and checksums wrap on purpose. ``AX_MONITOR_BUILD=sanitize``
builds what is shipped with AddressSanitizer and UndefinedBehaviorSanitizer (`make sanitize`), and
``tsan`` with ThreadSanitizer, and the driver of its stress test (`make tsan`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

EXT = Path("ext")
BUILD = os.environ.get("AX_MONITOR_BUILD", "")
DEBUG = BUILD == "debug"
SANITIZERS = {
    "sanitize": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "tsan": ["-fsanitize=thread"],
}
SANITIZER = SANITIZERS.get(BUILD, [])

DIRECTIVES = {
    "language_level": 3,
    "embedsignature": True,
    "auto_pickle": False,
    "warn.unreachable": True,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "wraparound": False,
    "cdivision": not DEBUG,
}


def _compile_args():
    if DEBUG:
        return ["-O0", "-g"]
    return ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZER] if SANITIZER else ["-O3"]


modules = [
    Extension(
        ".".join(pyx.relative_to(EXT).with_suffix("").parts),
        [str(pyx)],
        extra_compile_args=_compile_args(),
        extra_link_args=SANITIZER,
    )
    for pyx in sorted(EXT.rglob("*.pyx"))
]
if BUILD == "tsan":
    modules.append(
        Extension(
            "ring_stress",
            ["tests/native_stress/ring_stress.pyx"],
            extra_compile_args=_compile_args(),
            extra_link_args=SANITIZER,
        )
    )

setup(
    ext_modules=cythonize(
        modules,
        include_path=[str(EXT)],
        build_dir=None if DEBUG else "build/cython",
        compiler_directives=DIRECTIVES,
    )
)
