"""How long a job waits after trouble that may pass."""

RETRY_DELAY_MS = 1000
"""After the first failure; doubles with each."""
RETRY_DELAY_MS_MAX = 300_000


def retry_delay_ms(failures: int, key: bytes) -> int:
    """Return the wait before the next attempt, in ms: doubling, spread by the key so that jobs do not come at once."""
    delay_ms = min(RETRY_DELAY_MS_MAX, RETRY_DELAY_MS << min(20, failures - 1))
    return delay_ms * (192 + key[1] // 2) // 256
