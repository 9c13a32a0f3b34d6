"""What the other tests stand on."""

from harness import free_port


def test_no_port_is_given_out_twice():
    """Two processes of one grid never get the same port, which one in thousands did."""
    ports = [free_port() for _ in range(1000)]
    assert len(set(ports)) == len(ports)
