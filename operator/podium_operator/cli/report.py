"""`podium report`: draw what an experiment has come to."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from podium_operator.cli.exit_codes import EXIT_CANNOT_GO_ON
from podium_operator.core.ports import BackendError


def command(
    results: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A results folder, or a document of podium run --output json.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; RESULTS/report when absent.", show_default=False)
    ] = None,
) -> None:
    """Write a self-contained HTML page, its figures as PNGs, and trials.csv and observations.csv."""
    # matplotlib takes a second to import, the engine another, which no other command is to wait for.
    from podium_operator.report.page import write_report  # noqa: PLC0415
    from podium_operator.results import load_results  # noqa: PLC0415

    err = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        loaded = load_results(results)
        paths = write_report(loaded, out or (results if results.is_dir() else results.parent) / "report")
    except (BackendError, OSError) as fault:
        err.print(f"cannot write the report: {fault}", markup=False, style="bold red")
        raise typer.Exit(EXIT_CANNOT_GO_ON) from None
    for path in paths:
        print(path)  # noqa: T201  (the command's own output)
