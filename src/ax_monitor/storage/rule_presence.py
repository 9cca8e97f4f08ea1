"""Is there any rule? Apart from the rules themselves, which most processes never need."""

from __future__ import annotations

import apsw


def has_enabled_rules(connection: apsw.Connection) -> bool:
    """Whether any alert rule is enabled."""
    found = connection.execute("SELECT 1 FROM alert_rules WHERE enabled LIMIT 1").fetchone()
    return found is not None
