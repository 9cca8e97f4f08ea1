"""The compiled references; built here on first import, from `axref.pyx`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

_BUILD = """
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(
    script_args=["-q", "build_ext", "--build-lib", {out!r}, "--build-temp", {temp!r}],
    ext_modules=cythonize(
        [Extension("axref", [{source!r}], extra_compile_args=["-O3"])],
        include_path=[{ext!r}],
        build_dir={temp!r},
        compiler_directives=dict(language_level=3, boundscheck=False, wraparound=False),
    ),
)
"""


def _load() -> ModuleType:
    built = HERE / f"axref{sysconfig.get_config_var('EXT_SUFFIX')}"
    source = HERE / "axref.pyx"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        script = _BUILD.format(
            out=str(HERE),
            temp=str(ROOT / "build" / "reference"),
            source=str(source.relative_to(ROOT)),
            ext=str(ROOT / "ext"),
        )
        subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    spec = importlib.util.spec_from_file_location("axref", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


axref = _load()
