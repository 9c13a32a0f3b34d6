"""Metrics as Prometheus reads them: which there are, how they are counted and written, and a small server for them."""
