"""Images through Dask: tasks on a cluster of two processes; whoever asked for them stores the results as they come."""

from dask.distributed import Client, LocalCluster, as_completed
from tutorial import WORKERS, Rows, arguments, look, read, timed


def main() -> None:
    """Submit every image and store what comes back."""
    given = arguments()
    rows = Rows(given.rows)
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def do(jobs: list[tuple[str, str]]) -> None:
            futures = [client.submit(look, uri, read(path, inline=given.inline)) for uri, path in jobs]
            for _, result in as_completed(futures, with_results=True):
                rows.store(result)

        timed(given.paths, do)


if __name__ == "__main__":
    main()
