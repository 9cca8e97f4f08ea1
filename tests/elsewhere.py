"""The other program: a process of its own with the standard library's sqlite3."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any


def elsewhere(path: str, *statements: tuple[str, list[Any]]) -> list[Any]:
    """Run SQL in another process, each statement for each of its parameter rows; their results."""
    code = textwrap.dedent("""
        import json, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=10)
        answers = []
        for sql, rows in json.load(sys.stdin):
            with connection:
                try:
                    results = [connection.execute(sql, row).fetchall() for row in rows]
                    answers.append(sum(results, []))
                except sqlite3.Error as error:
                    answers.append(f"{type(error).__name__}: {error}")
        connection.close()
        print(json.dumps(answers))
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return list(json.loads(done.stdout))
