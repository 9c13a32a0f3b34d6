"""ZeroMQ, and nothing else: sockets, lanes and the loop that reads them."""
