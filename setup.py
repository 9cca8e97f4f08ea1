"""Lists the extensions; everything else is in pyproject.toml.

The module name is the path below ``ext/``, so there is no table to forget:
``ext/ax_monitor/_native/ring.pyx`` builds ``ax_monitor._native.ring``.
``AX_MONITOR_BUILD=debug`` builds without optimisation and with every check that Cython has, for the
tests; but for overflow: the hashes and checksums wrap on purpose. ``AX_MONITOR_BUILD=sanitize``
builds what is shipped with AddressSanitizer and UndefinedBehaviorSanitizer (`make sanitize`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

EXT = Path("ext")
BUILD = os.environ.get("AX_MONITOR_BUILD", "")
DEBUG = BUILD == "debug"
SANITIZE = "-fsanitize=address,undefined"
COMPILE_ARGS = {
    "debug": ["-O0", "-g"],
    "sanitize": ["-O1", "-g", "-fno-omit-frame-pointer", SANITIZE, "-fno-sanitize-recover=all"],
}

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

modules = [
    Extension(
        ".".join(pyx.relative_to(EXT).with_suffix("").parts),
        [str(pyx)],
        extra_compile_args=COMPILE_ARGS.get(BUILD, ["-O3"]),
        extra_link_args=[SANITIZE] if BUILD == "sanitize" else [],
    )
    for pyx in sorted(EXT.rglob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        modules,
        include_path=[str(EXT)],
        build_dir=None if DEBUG else "build/cython",
        compiler_directives=DIRECTIVES,
    )
)
