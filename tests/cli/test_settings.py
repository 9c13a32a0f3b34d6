"""Settings: one table, and one sentence for whatever cannot be."""

import os
import re
from pathlib import Path

import pytest

from zgrid.errors import SettingsError
from zgrid.settings import (
    ROLES,
    Common,
    RunSettings,
    SinkSettings,
    VentilatorSettings,
    WorkerSettings,
    flag_of,
    load,
    shown_of,
    variable_of,
)

NEEDED = {
    RunSettings: {"sources": ["a"], "out": "o"},
    VentilatorSettings: {"sources": ["a"], "sink": ["tcp://h:5560"]},
    WorkerSettings: {"ventilators": ["tcp://h:5550"]},
    SinkSettings: {},
}


def made(model, environ=None, config=None, **flags):
    """Return settings from nothing but what a test gives."""
    return load(model, {**NEEDED[model], **flags}, config, environ or {})


def refusal(model, environ=None, config=None, **flags):
    """Return the sentence with which settings are refused."""
    with pytest.raises(SettingsError) as caught:
        made(model, environ, config, **flags)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture
def toml(tmp_path):
    """Write a TOML file."""

    def write(text):
        path = tmp_path / "zgrid.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (WorkerSettings, "procs"), (VentilatorSettings, "ttr_ms"), (VentilatorSettings, "job_bytes_max"),
        (VentilatorSettings, "attempts_max"), (SinkSettings, "intake_port"), (RunSettings, "out"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["true", "false"])
def test_truth_is_no_number(toml, model, name, value):
    """A TOML file's true or false is refused where a setting is no switch, and not taken as 1 or 0."""
    config = toml(f"{name} = {value}")
    assert refusal(model, config=config) == f"{name} in {config} is no switch: write its value, not {value}"


@pytest.mark.parametrize("model", NEEDED)
def test_defaults_stand(model):
    """With only what is needed, every role has settings."""
    settings = made(model)
    assert settings.log_level == "info"
    with pytest.raises(Exception, match="frozen"):
        settings.log_level = "debug"


def test_defaults_of_the_design():
    """The defaults that the design names are those of the table."""
    settings = made(VentilatorSettings)
    assert (settings.bind, settings.filter, settings.attempts_max) == ("tcp://*:5550", ["faces", "highlight"], 3)
    assert (settings.beat_interval_ms, settings.beats_missed_max, settings.window_ms) == (1000, 3, 100)
    assert (settings.commit_interval_ms, settings.by_reference, settings.once) == (25, False, False)
    assert made(RunSettings).by_reference


def test_flag_before_variable_before_file_before_default(toml):
    """The nearer one wins, and within the file the role's own table."""
    path = toml("ttr_ms = 1000\n[ventilator]\nttr_ms = 2000\n[run]\nttr_ms = 9\n")
    assert made(VentilatorSettings).ttr_ms == 60_000
    assert made(VentilatorSettings, {}, toml("ttr_ms = 1000")).ttr_ms == 1000
    toml(path.read_text() and "ttr_ms = 1000\n[ventilator]\nttr_ms = 2000\n[run]\nttr_ms = 9\n")
    assert made(VentilatorSettings, {}, path).ttr_ms == 2000
    assert made(VentilatorSettings, {"ZGRID_TTR_MS": "3000"}, path).ttr_ms == 3000
    assert made(VentilatorSettings, {"ZGRID_TTR_MS": "3000"}, path, ttr_ms="4000").ttr_ms == 4000


def test_file_by_variable(toml):
    """ZGRID_CONFIG names the file; --config comes before it."""
    path = toml("ttr_ms = 1234")
    assert made(VentilatorSettings, {"ZGRID_CONFIG": str(path)}).ttr_ms == 1234
    assert "cannot be read" in refusal(VentilatorSettings, {"ZGRID_CONFIG": str(path)}, path.with_name("no"))


def test_one_file_serves_all_roles(toml):
    """A key of another role at the top level is no error, nor is another role's table."""
    path = toml('procs = 3\nbind = "tcp://*:7000"\n[sink]\nbind = "tcp://*:8000"\n[worker]\nname = "w"\n')
    assert made(WorkerSettings, {}, path).procs == 3
    assert made(WorkerSettings, {}, path).name == "w"
    assert made(SinkSettings, {}, path).bind == "tcp://*:8000"
    assert made(VentilatorSettings, {}, path).bind == "tcp://*:7000"


def test_a_setting_may_have_the_name_of_a_role(toml):
    """Where a ventilator's results go is called sink, as a role's table is: either may be in a file."""
    assert made(VentilatorSettings, {}, toml("sink = 'tcp://one:1'"), sink=None).sink == ["tcp://one:1"]
    assert len(made(VentilatorSettings, {}, toml("sink = ['tcp://one:1', 'tcp://two:2']"), sink=None).sink) == 2
    assert made(SinkSettings, {}, toml("[sink]\nname = 's'")).name == "s"


def test_a_service_has_its_own_folder(monkeypatch, tmp_path):
    """Where systemd has made a folder for a service, that is where it keeps things unless it is told otherwise."""
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/one:{tmp_path}/two")
    assert made(VentilatorSettings).ledger == tmp_path / "one/ledger.sqlite"
    assert made(SinkSettings).pictures == tmp_path / "one/pictures"
    assert made(SinkSettings).db == f"sqlite:///{tmp_path}/one/results.sqlite"
    monkeypatch.setenv("STATE_DIRECTORY", "")
    assert made(SinkSettings).pictures.parts[-2:] == ("zgrid", "pictures")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttr = 5", "the key ttr is unknown; did you mean ttr_ms?"),
        ("ttr-ms = 5", "did you mean ttr_ms?"),
        ("[ventilator]\nprocs = 2", "[ventilator]: the key procs is unknown"),
        ("[sinc]\n", "did you mean sink?"),
        ("ventilator = 5", "ventilator must be a table"),
        ("ttr_ms = ", "is not TOML"),
        ("ttr_ms = 'soon'", "ttr_ms in "),
        ("ttr_ms = 0", "must be at least 1, not 0"),
        ("once = 'perhaps'", "must be true or false, not 'perhaps'"),
        ("filter = 5", "must be a list, not 5"),
        ("filter = []", "must not be empty"),
        ("filter = ['']", "must not be empty"),
        ("ledger = 5", "5 is no path"),
    ],
)
def test_bad_file_is_refused(toml, text, said):
    """Unknown keys (with the closest known one), broken TOML and bad values are refused, naming file and key."""
    sentence = refusal(VentilatorSettings, {}, toml(text))
    assert said in sentence
    assert "zgrid.toml" in sentence


def test_unknown_variable_is_refused():
    """A misspelt variable is refused with the closest known one; those of other roles and tools are not."""
    assert refusal(SinkSettings, {"ZGRID_PICTURE": "x"}) == (
        "ZGRID_PICTURE in the environment is unknown; did you mean ZGRID_PICTURES?"
    )
    made(SinkSettings, {"ZGRID_PROCS": "2", "ZGRID_MODELS": "/m", "ZGRID_FACES": "/f", "HOME": "/h"})


def test_empty_variable_gives_nothing():
    """A variable that is set to nothing leaves the default."""
    assert made(VentilatorSettings, {"ZGRID_TTR_MS": "", "ZGRID_FILTER": ""}).ttr_ms == 60_000


def test_lists_in_variables_are_shell_words():
    """A list in a variable is split as a shell does."""
    settings = load(
        VentilatorSettings,
        {},
        None,
        {"ZGRID_SOURCES": "/a '/b c' -", "ZGRID_SINK": "tcp://h:1 tcp://h:2", "ZGRID_FILTER": "null"},
    )
    assert settings.sources == ["/a", "/b c", "-"]
    assert settings.sink == ["tcp://h:1", "tcp://h:2"]
    assert settings.filter == ["null"]
    assert "quote" in refusal(VentilatorSettings, {"ZGRID_FILTER": "'null"})


def test_one_text_in_a_file_is_a_list_of_one(toml):
    """A path with a space needs no brackets in TOML."""
    assert load(RunSettings, {"out": "o"}, toml('sources = "my photos"'), {}).sources == ["my photos"]


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("64MiB", 64 << 20), ("64m", 64 << 20), ("0.5 GB", 1 << 29), ("2K", 2048)]
)
def test_sizes(text, size):
    """A size is a number of bytes, or has a unit of 1024."""
    assert made(VentilatorSettings, unsettled_bytes_max=text).unsettled_bytes_max == size
    assert made(VentilatorSettings, job_bytes_max=text).job_bytes_max == size


def test_home_may_be_written_in_variables_and_files(toml, monkeypatch):
    """~ is the user's home also where no shell has seen it; ~nobody-of-that-name is a name like any other."""
    monkeypatch.setenv("HOME", "/home/zoe")
    assert made(VentilatorSettings, {"ZGRID_LEDGER": "~/l.sqlite"}).ledger == Path("/home/zoe/l.sqlite")
    assert made(SinkSettings, config=toml('pictures = "~/faces"')).pictures == Path("/home/zoe/faces")
    assert made(RunSettings, out="~no-such-user/x").out == Path("~no-such-user/x")


@pytest.mark.parametrize(
    ("model", "flags", "said"),
    [
        (
            VentilatorSettings,
            {"unsettled_bytes_max": "lots"},
            "--unsettled-bytes-max: 'lots' is no size: write bytes, or a size such as 32MiB",
        ),
        (VentilatorSettings, {"job_bytes_max": "3GiB"}, "--job-bytes-max must be at most 536870912"),
        (VentilatorSettings, {"ttr_ms": "soon"}, "--ttr-ms must be a whole number, not 'soon'"),
        (VentilatorSettings, {"log_level": "loud"}, "--log-level must be 'debug', 'info', 'warning' or 'error'"),
        (VentilatorSettings, {"bind": "5550"}, "--bind: '5550' is no address: write tcp://HOST:PORT"),
        (VentilatorSettings, {"bind": "tcp://*"}, "is no address"),
        (VentilatorSettings, {"bind": "tcp://*:99999"}, "port above 65535"),
        (VentilatorSettings, {"bind": "udp://h:1"}, "is no address"),
        (VentilatorSettings, {"bind": "ipc://"}, "107 bytes"),
        (VentilatorSettings, {"bind": "ipc://@name"}, "everybody on this machine"),
        (VentilatorSettings, {"sink": ["ipc://@name"]}, "everybody on this machine"),
        (VentilatorSettings, {"bind": "ipc:///" + "x" * 107}, "107 bytes"),
        (VentilatorSettings, {"sink": ["tcp://*:5560"]}, "says where to listen, not whom to call"),
        (VentilatorSettings, {"sink": ["tcp://0.0.0.0:5560"]}, "says where to listen"),
        (VentilatorSettings, {"sink": ["tcp://h:0"]}, "says where to listen"),
        (VentilatorSettings, {"sink": ["tcp://h:1", "tcp://h:1"]}, "is given twice"),
        (VentilatorSettings, {"lanes": "5600"}, "write FIRST-LAST"),
        (VentilatorSettings, {"lanes": "5999-5600"}, "write FIRST-LAST"),
        (VentilatorSettings, {"lanes": "5500-5600"}, "must not include the port of --bind"),
        (
            VentilatorSettings,
            {"batch_jobs_max": 100, "unsettled_jobs_max": 99},
            "--batch-jobs-max must not be more than",
        ),
        (VentilatorSettings, {"window_ms": 100, "ttr_ms": 99}, "--window-ms must not be more than --ttr-ms"),
        (VentilatorSettings, {"commit_interval_ms": 3000}, "--commit-interval-ms must be shorter than"),
        (VentilatorSettings, {"name": "a\nb"}, "is no name"),
        (VentilatorSettings, {"name": "x" * 65}, "is no name"),
        (WorkerSettings, {"ventilators": ["localhost"]}, "ADDRESS: 'localhost' is no address"),
        (RunSettings, {"sources": [""]}, "SOURCE: '' is no source: name a folder"),
        (RunSettings, {"out": "a\0b"}, "--out: 'a\\x00b' is no path"),
        (WorkerSettings, {"procs": 0}, "--procs must be at least 1, not 0"),
        (WorkerSettings, {"child_memory_bytes_max": "1MiB"}, "--child-memory-bytes-max must be at least 268435456"),
        (SinkSettings, {"bind": "tcp://*:7000", "intake_port": 7000}, "must not be the port of --bind"),
        (SinkSettings, {"bind": "tcp://*:65535"}, "--intake-port must be at most 65535"),
        (SinkSettings, {"db": "results.sqlite"}, "is no URL: write sqlite:///FILE"),
    ],
)
def test_bad_value_is_refused(model, flags, said):
    """A value that cannot be is refused in one sentence that names the flag and says what to write."""
    assert said in refusal(model, **flags)


@pytest.mark.parametrize(
    ("model", "missing", "said"),
    [
        (VentilatorSettings, "sink", "--sink is needed: where results go"),
        (RunSettings, "sources", "SOURCE is needed: folders"),
        (WorkerSettings, "ventilators", "ADDRESS is needed: the ventilators"),
        (RunSettings, "out", "--out is needed: the folder"),
    ],
)
def test_what_is_needed_is_named(model, missing, said):
    """What is missing is named as the command line calls it; an empty list is missing too."""
    for nothing in (None, []):
        assert said in refusal(model, **{missing: nothing})


def test_ventilator_needs_no_source():
    """A ventilator without sources takes what is put, and nothing else."""
    assert made(VentilatorSettings, sources=None).sources == []
    assert "--" not in made(VentilatorSettings, sources=None).arguments()


def test_values_that_follow_from_others(tmp_path):
    """The intake's port is the next one, and the database is beside the pictures."""
    settings = made(SinkSettings, bind="tcp://*:7000", pictures=str(tmp_path / "p"))
    assert settings.intake_port == 7001
    assert settings.db == f"sqlite:///{tmp_path}/results.sqlite"
    assert made(SinkSettings, bind="tcp://127.0.0.1:0").intake_port == 0
    assert made(SinkSettings, bind="tcp://*:*").intake_port == 0
    assert made(SinkSettings, bind="ipc:///tmp/s").intake_port == 0


def test_names_that_are_not_text_survive():
    """A folder whose name is not UTF-8 is a source, a place for results, and no trouble for the log."""
    settings = made(RunSettings, sources=["caf\udce9"], out="out\udce9")
    assert settings.sources == ["caf\udce9"]
    assert os.fsencode(settings.out) == b"out\xe9"
    assert settings.for_log()["out"] == "out\udce9"
    assert settings.arguments()[-1] == "caf\udce9"


def test_addresses_that_can_be():
    """Names, IPv4, IPv6 and ipc paths are addresses."""
    for address in ["tcp://host.lan:1", "tcp://10.0.0.1:65535", "tcp://[::1]:5550", "ipc:///run/zgrid/v"]:
        assert made(WorkerSettings, ventilators=[address]).ventilators == [address]


def test_lanes_are_a_range():
    """The range of ports comes as two numbers."""
    assert made(VentilatorSettings, lanes="5600-5999").lane_ports == (5600, 5999)
    assert made(VentilatorSettings).lane_ports is None


def test_passwords_are_not_logged():
    """The database's password is in the settings and not in the log's line."""
    for url in [
        "postgresql+psycopg://me:s3@cret@host/zgrid",
        "postgresql+psycopg://host/zgrid?user=me&password=s3@cret",
    ]:
        settings = made(SinkSettings, db=url)
        assert "cret" in settings.db
        assert "cret" not in str(settings.for_log())
        assert "host/zgrid" in settings.for_log()["db"]


@pytest.mark.parametrize("model", NEEDED)
def test_arguments_give_the_same_settings(model):
    """The command line made from settings gives the same settings again."""
    flags = {name: value for name, value in made(model).model_dump().items() if value is not None}
    settings = made(model, **flags)
    words = settings.arguments()
    again = {}
    rest = words[words.index("--") + 1 :] if "--" in words else []
    for word in words[: len(words) - len(rest) - bool(rest)]:
        flag, equals, value = word.partition("=")
        no, name = flag.startswith("--no-"), flag.removeprefix("--no-").removeprefix("--").replace("-", "_")
        again.setdefault(name, []).append(value if equals else not no)
    again = {name: value if name in {"sink", "filter"} else value[0] for name, value in again.items()}
    for name in model.model_fields:
        if shown_of(model, name).is_argument:
            again[name] = rest
    assert load(model, again, None, {}) == settings


@pytest.mark.parametrize("model", ROLES.values())
def test_every_setting_is_explained(model):
    """Every setting has help, a value's name unless it is a switch, and a unit last in its name where it has one."""
    for name, field in model.model_fields.items():
        assert field.description, name
        shown = shown_of(model, name)
        assert shown.metavar or field.annotation is bool, name
        assert (shown.metavar == "MS") == name.endswith("_ms"), name
        assert (shown.metavar == "SIZE") == name.endswith("_bytes_max"), name


def test_filter_modules_are_dotted_names():
    """Modules of filters are given by name, several of them, as flags, variable or TOML; a path is refused."""
    assert made(WorkerSettings).filter_module == []
    given = made(WorkerSettings, {"ZGRID_FILTER_MODULE": "mine my_package.filters"})
    assert given.filter_module == ["mine", "my_package.filters"]
    words = given.arguments()
    assert [word for word in words if "module" in word] == [
        "--filter-module=mine",
        "--filter-module=my_package.filters",
    ]
    assert made(RunSettings, filter_module="mine").filter_module == ["mine"]
    for path in ("./mine.py", "mine.py"):
        sentence = refusal(WorkerSettings, filter_module=[path])
        assert sentence.startswith(f"--filter-module: '{path}' is no module: write its dotted name, such as")


def test_a_name_means_one_thing():
    """A setting that several roles have is of one kind in all of them."""
    kinds = {}
    for model in ROLES.values():
        for name, field in model.model_fields.items():
            kinds.setdefault(name, set()).add(str(field.annotation))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}


def test_names_follow_from_the_field():
    """Flag and variable are the field's name."""
    assert flag_of("ttr_ms") == "--ttr-ms"
    assert variable_of("ttr_ms") == "ZGRID_TTR_MS"
    assert all(re.fullmatch("[a-z_]+", name) for model in ROLES.values() for name in model.model_fields)
    assert all(issubclass(model, Common) for model in ROLES.values())
