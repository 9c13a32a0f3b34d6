"""Images through ipyparallel: a load-balanced view of two engines; whoever asked stores the results as they come."""

import ipyparallel
from tutorial import WORKERS, Rows, arguments, look, read, timed


def main() -> None:
    """Map the filter over every image and store what comes back."""
    given = arguments()
    rows = Rows(given.rows)
    with ipyparallel.Cluster(n=WORKERS) as client:
        view = client.load_balanced_view()

        def do(jobs: list[tuple[str, str]]) -> None:
            uris = [uri for uri, _ in jobs]
            images = [read(path, inline=given.inline) for _, path in jobs]
            for result in view.map_async(look, uris, images, ordered=False):
                rows.store(result)

        timed(given.paths, do)


if __name__ == "__main__":
    main()
