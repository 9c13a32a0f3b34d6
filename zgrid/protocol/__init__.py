"""ZGRID/1: bytes and decisions. Nothing in here touches a socket, file, clock, thread or random number."""
