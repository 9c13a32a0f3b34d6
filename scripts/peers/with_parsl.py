"""Images through Parsl's HighThroughputExecutor: apps in two processes; whoever called them stores the results."""

from concurrent.futures import as_completed

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from tutorial import WORKERS, Rows, arguments, read, timed


@parsl.python_app
def look_at(uri: str, image: bytes | None = None) -> dict:
    """Look at an image. An app travels by itself, so it imports what it needs."""
    from tutorial import look  # noqa: PLC0415

    return look(uri, image)


def main() -> None:
    """Call the app for every image and store what comes back."""
    given = arguments()
    rows = Rows(given.rows)
    executor = HighThroughputExecutor(
        label="workers",
        address="127.0.0.1",
        max_workers_per_node=WORKERS,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    with parsl.load(Config(executors=[executor], run_dir=str(given.rows.parent / "parsl"))):

        def do(jobs: list[tuple[str, str]]) -> None:
            for future in as_completed([look_at(uri, read(path, inline=given.inline)) for uri, path in jobs]):
                rows.store(future.result())

        timed(given.paths, do)


if __name__ == "__main__":
    main()
