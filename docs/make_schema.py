"""Write docs/schema.sql and docs/configuration.md, which follow from the code. `make docs`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ax_monitor
from ax_monitor.options import as_table
from ax_monitor.storage.migrations import SCHEMA_VERSION, dump_schema

HERE = Path(__file__).parent


def main() -> None:
    """Write down the schema of an empty database, and the table of all options."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "monitor.db"
        ax_monitor.Store(path).close()
        text = dump_schema(str(path))
    header = f"-- Version {SCHEMA_VERSION}, generated from the migrations by `make docs`.\n\n"
    (HERE / "schema.sql").write_text(header + text, encoding="utf-8")
    (HERE / "configuration.md").write_text(as_table(), encoding="utf-8")


if __name__ == "__main__":
    main()
