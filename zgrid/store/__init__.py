"""Disk and SQL: the ventilator's ledger, the sink's rows and pictures. ``README.md`` says what is kept where."""
