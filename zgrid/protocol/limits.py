"""What a message may be at most. Checked before anything is allocated for it; PROTOCOL.md says the same in words."""

BATCH_JOBS_MAX = 1024
"""Jobs, outcomes or results in one message."""

HEADER_BYTES_MAX = 8 << 20
"""The msgpack header: 1,024 jobs with paths of 4 KiB, percent-encoded, still fit."""

FRAME_BYTES_MAX = 512 << 20
"""One image; the sockets refuse a longer frame before they read it (ZMQ_MAXMSGSIZE)."""

FRAMES_MAX = BATCH_JOBS_MAX + 2
"""Version and kind, header, and an image for each job."""

URI_CHARS_MAX = 16384
"""PATH_MAX is 4,096 bytes on Linux; percent-encoding makes three characters of one, an archive member doubles it."""

TEXT_CHARS_MAX = 4096
"""A name, address, chain or reason."""

ROOTS_MAX = 64
"""Places that one worker may name from which it reads images by reference."""

FILTERS_MAX = 256
"""Filters that one worker may name."""

MEMBERS_MAX = 4096
"""Of a grid: whom a roster names."""

NOTES_DEPTH_MAX = 8
"""Nesting of a filter's notes and of people's questions and answers."""

INT_MAX = (1 << 63) - 1
"""What SQLite keeps in a column."""

HEADER_VALUES_MAX = 1 << 20
"""Items of arrays, and keys and values of maps, in one header: a value of one byte takes 70 and more in memory."""

ATTEMPT_MAX = (1 << 31) - 1
"""What PostgreSQL keeps in an INTEGER; a result beyond it could never be stored, and would be tried for ever."""

PIXELS_MAX = (1 << 31) - 1
"""Width or height of an image; likewise what an INTEGER keeps."""

PRIORITY_MAX = (1 << 31) - 1
"""Of a job; the smallest priority is one less than its negative."""

DELAY_MS_MAX = 366 * 86_400_000
"""A year: who means longer than that means a mistake."""

TTR_MS_MAX = 7 * 86_400_000
"""A week, for one image."""
