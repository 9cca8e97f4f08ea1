"""Ways in and out of ax-monitor for data that other programs write or read."""
