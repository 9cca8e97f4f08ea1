"""How rules are written, and how they are evaluated: now, and over the past."""
