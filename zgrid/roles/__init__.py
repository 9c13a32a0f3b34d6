"""Wiring: one file for each process, which joins a pure machine to the sockets, disks and pixels it decides about."""
