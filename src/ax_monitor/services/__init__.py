"""The services: what a user's call means. One service a file; none imports another."""
