"""The commands that start a process of the grid. Each imports its role only when it runs: help must be instant."""

# \b keeps the lines of a help text as they are.
# ruff: noqa: PLC0415, D301

from contextlib import closing

from zgrid.cli.options import takes
from zgrid.settings import RunSettings, SinkSettings, VentilatorSettings, WorkerSettings


@takes(RunSettings)
def run(settings: RunSettings) -> int:
    """Look at every image with this machine alone.

    Starts a ventilator, a worker and a sink, shows how far it is, and ends when everything is settled; pictures and
    database are in one folder. Ctrl-C finishes what has begun. The same command goes on from there, and takes only
    what is new or changed.

    \b
    Example:
      zgrid run ~/Pictures holiday.zip --out faces

    Ends with 0 when all is settled, 3 when something was buried or could not be read, 130 when Ctrl-C (143 when
    SIGTERM, 129 when the loss of its terminal) stopped it before, 2 for wrong usage or settings, 1 for a fault of ours.
    """
    from zgrid.cli.progress import view
    from zgrid.roles.run import run as role

    with closing(view()) as shown:
        return role(settings, shown)


@takes(VentilatorSettings)
def ventilator(settings: VentilatorSettings) -> int:
    """Find the images and hand them out to the workers that come.

    Start it where the pictures are. It remembers every image in its ledger, so it can be killed and started again at
    any time; running it again over the same folder does only what is new or changed.

    Ctrl-C and SIGTERM let what is under way be settled first, for 10 s at most; the second one ends it at once.

    \b
    Examples:
      zgrid ventilator /photos --sink tcp://results.lan:5560
      find /photos -newer mark -print0 | zgrid ventilator - --sink tcp://results.lan:5560 --once
    """
    from zgrid.roles.ventilator import serve

    return serve(settings)


@takes(WorkerSettings)
def worker(settings: WorkerSettings) -> int:
    """Work on the images of one or several ventilators.

    Start one on each machine; it uses all the CPUs that it may. It can come, go and crash at any time: what it had not
    finished is done by another.

    Ctrl-C and SIGTERM let what runs be finished, for --stop-ms at most, and hand back the rest; the second one hands
    back all.

    \b
    Example:
      zgrid worker tcp://photos.lan:5550 --procs 4
    """
    from zgrid.roles.worker import serve

    return serve(settings)


@takes(SinkSettings)
def sink(settings: SinkSettings) -> int:
    """Keep the results: rows in a database, pictures in a folder.

    Start it where the results should live. Everything that it has acknowledged is on disk.

    Ctrl-C and SIGTERM let what is under way to it be stored first, for 10 s at most; the second one ends it at once.

    \b
    Example:
      zgrid sink --pictures /srv/zgrid/pictures --db sqlite:////srv/zgrid/results.sqlite
    """
    from zgrid.roles.sink import serve

    return serve(settings)
