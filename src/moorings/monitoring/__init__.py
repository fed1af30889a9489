"""Seeing the sockets of a running program: reports, their diagnosis, and the way to them from another process."""
