"""Every setting of every role: its name, type, default, limits and help, once."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from zgrid.settings.values import (
    MIB,
    Bind,
    Calls,
    File,
    Millis,
    Modules,
    Name,
    Paths,
    Place,
    Shown,
    Size,
    Sources,
    SourcesOrNone,
    Words,
    child_memory,
    cpus,
    data_folder,
    is_ipc,
    next_port,
    ports,
    split_address,
    state_folder,
)

FRAME_MAX = 512 * MIB
"""The longest frame that the protocol allows (``zgrid.protocol.limits``)."""

SOURCES = "folders, files, archives, globs, or - for a list of paths on standard input"


class Common(BaseModel):
    """What every role has."""

    # A process has the settings of one role and starts the sooner for not building those of the others.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    log_level: Annotated[Literal["debug", "info", "warning", "error"], Shown("LEVEL")] = Field(
        default="info", description="how much is logged: debug, info, warning or error"
    )

    def for_log(self) -> dict[str, Any]:
        """Return the settings as plain data for a line of the log, without a password in a database's URL."""
        shown = {name: _plain(value) for name, value in self}
        if "db" in shown:
            shown["db"] = re.sub(r"(://[^:/@]*:|password=)[^/&]*(?=@|&|$)", r"\1***", str(shown["db"]))
        return shown

    def arguments(self) -> list[str]:
        """Return the command line that gives these settings to another process, every one of them."""
        words: list[str] = []
        positional: list[str] = []
        for name, value in self:
            flag = flag_of(name)
            if shown_of(type(self), name).is_argument:
                positional += map(str, value)
            elif isinstance(value, bool):
                words.append(flag if value else f"--no-{flag[2:]}")
            elif value is not None:
                words += [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
        return [*words, "--", *positional] if positional else words


def _plain(value: object) -> object:
    """Return a value without paths, which a log has as texts."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def flag_of(name: str) -> str:
    """Return the flag of a setting."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return "ZGRID_" + name.upper()


def shown_of(model: type[Common], name: str) -> Shown:
    """Return how help shows a setting of ``model``."""
    return next((one for one in model.model_fields[name].metadata if isinstance(one, Shown)), Shown())


class _Chain(Common):
    """What is done to the images: the same for a ventilator and for a run."""

    sources: Sources = Field(description=SOURCES)
    filter: Annotated[Words, Shown("NAME")] = Field(
        default=["faces", "highlight"],
        description="a filter of the chain, in order, with options as in highlight:colour=red; repeat it for the next",
    )
    ttr_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=60_000, description="time to run: a job that takes longer is stopped and tried again"
    )
    attempts_max: Annotated[int, Shown("N", is_limit=True)] = Field(
        default=3, ge=1, le=1000, description="how often a job is tried before it is buried"
    )
    job_bytes_max: Annotated[Size, Shown("SIZE", is_limit=True)] = Field(
        default=64 * MIB, le=FRAME_MAX, description="the largest image that is taken"
    )


class Served(Common):
    """What each role has that runs as a service."""

    metrics: Annotated[Place | None, Shown("HOST:PORT", "none")] = Field(
        default=None,
        description="serve metrics for Prometheus, /healthz and /readyz over HTTP, to whoever reaches this address",
    )
    keys: Annotated[File | None, Shown("DIR|FILE", "/etc/zgrid/keys, or keys in the user's config folder")] = Field(
        default=None, description="whose keys encrypt everything and say who may take part (zgrid keys)"
    )
    insecure: bool = Field(
        default=False, description="do without keys: nothing is encrypted, and whoever reaches the ports may take part"
    )

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        """Check that both are not meant at the same time."""
        if self.insecure and self.keys is not None:
            raise ValueError("--insecure does without keys, so --keys has no place beside it")
        return self


class VentilatorSettings(_Chain, Served):
    """The ventilator's."""

    sources: SourcesOrNone = Field(
        default=[], description=f"{SOURCES}; without any it only takes what is put (zgrid put)"
    )
    bind: Bind = Field(default="tcp://*:5550", description="where workers reach it")
    sink: Annotated[Calls, Shown("ADDRESS")] = Field(
        description="where results go, as workers reach it; repeat it for several sinks"
    )
    ledger: Annotated[File, Shown("FILE", "ledger.sqlite in the user's state folder")] = Field(
        default_factory=lambda: state_folder() / "ledger.sqlite",
        description="the file that remembers every job; one for each ventilator",
    )
    once: bool = Field(default=False, description="end when everything is settled, instead of staying and serving")
    by_reference: bool = Field(
        default=False,
        description=(
            "send where an image is instead of the image: workers read it from shared storage, where their --allow "
            "says so; the others get the image"
        ),
    )
    lanes: Annotated[Annotated[str, AfterValidator(ports)] | None, Shown("FIRST-LAST", "any free ports")] = Field(
        default=None, description="the ports that lanes to workers may use, for a firewall: one for each worker"
    )
    name: Annotated[Name, Shown("NAME", "the host's name")] = Field(description="what logs call it")
    beat_interval_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=1000, description="how often workers and ventilator tell each other that they live"
    )
    beats_missed_max: Annotated[int, Shown("N", is_limit=True)] = Field(
        default=3, ge=1, le=1000, description="how many beats in a row may be missed"
    )
    window_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=100, description="how much work, by its own pace, a worker holds that it has not started"
    )
    unsettled_bytes_max: Annotated[Size, Shown("SIZE", is_limit=True)] = Field(
        default=64 * MIB,
        description="how many bytes of images may be at one worker, with its pictures that no sink has stored yet",
    )
    unsettled_jobs_max: Annotated[int, Shown("N", is_limit=True)] = Field(
        default=8192, ge=1, le=1_000_000, description="how many jobs sent to one worker may be not yet settled"
    )
    batch_jobs_max: Annotated[int, Shown("N", is_limit=True)] = Field(
        default=512, ge=1, le=1024, description="how many jobs travel in one message"
    )
    commit_interval_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=25,
        description="how long the ledger gathers new jobs under load before it syncs them; settled ones wait 200 ms",
    )

    @property
    def lane_ports(self) -> tuple[int, int] | None:
        """First and last port for lanes, or None for any free one."""
        if self.lanes is None:
            return None
        first, last = self.lanes.split("-")
        return int(first), int(last)

    @model_validator(mode="after")
    def _relations(self) -> Self:
        """Check settings against each other."""
        if self.batch_jobs_max > self.unsettled_jobs_max:
            raise ValueError("--batch-jobs-max must not be more than --unsettled-jobs-max: a batch would never be sent")
        if self.window_ms > self.ttr_ms:
            raise ValueError("--window-ms must not be more than --ttr-ms: jobs would wait longer than they may run")
        if self.commit_interval_ms >= self.beat_interval_ms * self.beats_missed_max:
            raise ValueError("--commit-interval-ms must be shorter than --beat-interval-ms times --beats-missed-max")
        if (ports := self.lane_ports) and not is_ipc(self.bind) and ports[0] <= split_address(self.bind)[1] <= ports[1]:
            raise ValueError(f"--lanes {self.lanes} must not include the port of --bind {self.bind}")
        return self


class _Children(Common):
    """What holds for the processes that run filters."""

    procs: Annotated[int, Shown("N", "the CPUs it may use")] = Field(
        default_factory=cpus,
        ge=1,
        le=1024,
        description="how many images are worked on at a time, each in its own process",
    )
    filter_module: Modules = Field(
        default=[],
        description="import this Python module first: it may register filters that are not installed as a package",
    )
    child_network: bool = Field(
        default=False, description="let filters use the network: those of zgrid need none, and children have none"
    )
    child_read: Annotated[Paths, Shown("PATH", "none")] = Field(
        default=[],
        description="let filters read this file or folder: children see Python, its libraries and the models alone",
    )
    child_write: Annotated[Paths, Shown("PATH", "none")] = Field(
        default=[],
        description="let filters read and write this folder (or device); the first is their place for temporary files",
    )
    child_memory_bytes_max: Annotated[
        Size, Shown("SIZE", "3/4 of the machine's, shared out, 1 to 4 GiB", is_limit=True)
    ] = Field(
        default_factory=lambda data: child_memory(data.get("procs", 1)),
        ge=256 * MIB,
        description="memory of one child process; a filter that wants more fails",
    )
    child_cpu_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=3_600_000,
        description="processor time for one image, or from one touch of its filter to the next",
    )


class WorkerSettings(_Children, Served):
    """The worker's."""

    ventilators: Annotated[Calls, Shown("ADDRESS", is_argument=True)] = Field(
        description="the ventilators to work for, such as tcp://HOST:5550"
    )
    name: Annotated[Name, Shown("NAME", "the host's name")] = Field(description="what logs and status call it")
    allow: Annotated[Paths, Shown("PATH", "none")] = Field(
        default=[],
        description=(
            "read images at or below this folder (or in this archive) where a ventilator sends only their names; "
            "others come whole"
        ),
    )
    allow_links: bool = Field(
        default=False,
        description="follow links that lead out of the folders of --allow: only where nobody else can make links",
    )
    stop_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=10_000, description="how long a worker that is asked to stop may finish what it has begun"
    )


class SinkSettings(Served):
    """The sink's."""

    bind: Bind = Field(default="tcp://*:5560", description="where ventilators reach it")
    intake_port: Annotated[int, Shown("PORT", "the next one after --bind's")] = Field(
        default_factory=lambda data: next_port(data.get("bind", "")),
        ge=0,
        le=65535,
        description="where results come in",
    )
    pictures: Annotated[File, Shown("DIR", "pictures in the user's data folder")] = Field(
        default_factory=lambda: data_folder() / "pictures", description="the folder for highlighted pictures"
    )
    db: Annotated[str, Shown("URL", "results.sqlite beside the pictures")] = Field(
        default_factory=lambda data: f"sqlite:///{data['pictures'].absolute().parent / 'results.sqlite'}",
        description="the database for results: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
    )
    name: Annotated[Name, Shown("NAME", "the host's name")] = Field(description="what logs and status call it")
    commit_interval_ms: Annotated[Millis, Shown("MS", is_limit=True)] = Field(
        default=25,
        description="how long results gather under load before they are stored together; few at a time 4 times as long",
    )
    held_bytes_max: Annotated[Size, Shown("SIZE", is_limit=True)] = Field(
        default=256 * MIB, ge=MIB, description="how many bytes of results may wait in memory to be stored"
    )

    @model_validator(mode="after")
    def _relations(self) -> Self:
        """Check settings against each other."""
        if not is_ipc(self.bind) and 0 != self.intake_port == split_address(self.bind)[1]:
            raise ValueError(f"--intake-port {self.intake_port} must not be the port of --bind {self.bind}")
        if "://" not in self.db:
            raise ValueError(f"--db {self.db!r} is no URL: write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME")
        return self


class RunSettings(_Children, _Chain):
    """Those of everything on one machine."""

    out: Annotated[File, Shown("DIR")] = Field(
        description="the folder for pictures, results.sqlite and the ledger; a second run goes on where the first ended"
    )
    by_reference: bool = Field(default=True, description="let workers read the images themselves")
    retry_buried: bool = Field(default=False, description="try again what earlier runs have buried")
    once: bool = Field(default=True, description="end when everything is settled")


ROLES: dict[str, type[Common]] = {
    "run": RunSettings,
    "ventilator": VentilatorSettings,
    "worker": WorkerSettings,
    "sink": SinkSettings,
}
"""Role -> its settings."""
