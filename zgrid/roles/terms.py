"""The delivery machine's limits, from the ventilator's settings of the same names."""

from zgrid.protocol.flow import Terms
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.settings import VentilatorSettings


def terms_of(settings: VentilatorSettings) -> Terms:
    """Return the machine's limits from the settings of the same names."""
    return Terms(
        attempts_max=settings.attempts_max,
        ttr_ms=settings.ttr_ms,
        window_ms=settings.window_ms,
        unsettled_bytes_max=settings.unsettled_bytes_max,
        unsettled_jobs_max=settings.unsettled_jobs_max,
        batch_jobs_max=min(settings.batch_jobs_max, BATCH_JOBS_MAX),
        beat_interval_ms=settings.beat_interval_ms,
        beats_missed_max=settings.beats_missed_max,
    )
