"""`python docs/make_picture.py`: the tour, as the picture of a terminal in docs/demo.svg."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from ax_monitor.demo.tour import Tour

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100


def main() -> None:
    """Run the tour and draw it."""
    console = Console(highlight=False, record=True, width=WIDTH)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(ROOT / "tests" / "data" / "logs", "logs")
        Tour(Path(".demo", "monitor.db"), sorted(Path("logs").glob("*.log")), console).run()
    # Without the web fonts that rich would have the picture load
    plain_format = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    plain_format = re.sub(r"<!--.*?-->", "", plain_format)
    console.save_svg(
        str(ROOT / "docs" / "demo.svg"), title="ax monitor demo", code_format=plain_format
    )


if __name__ == "__main__":
    main()
