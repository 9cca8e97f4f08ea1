"""The single health checks, and what runs them; `services.health` puts them together."""
