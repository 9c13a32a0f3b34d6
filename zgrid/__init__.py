"""A brokerless ZeroMQ push/pull grid for images."""

__version__ = "0.1.0"
