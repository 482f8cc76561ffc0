"""The `podium` command: what a user types, and nothing else."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from podium_contract.manifest import ManifestError
from podium_operator.cli import algorithms, estimate, report, validate
from podium_operator.cli.exit_codes import EXIT_INVALID

app = typer.Typer(
    name="podium",
    help="Tune machine-learning models: on this machine with `podium run`, on Kubernetes with `kubectl apply`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Manifest = Annotated[Path, typer.Argument(metavar="FILE", help="An Experiment, as YAML or JSON.")]


@app.command()
def run(
    manifest: Manifest,
    results: Annotated[
        Path | None, typer.Option(help="Folder of the results; podium-results/NAME when absent.", show_default=False)
    ] = None,
    output: Annotated[
        Literal["text", "json"], typer.Option(help="json: one document on standard output when it ends.")
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Run an experiment on this machine. Interrupted with Ctrl-C, or killed, it goes on when run again."""
    from podium_operator.cli import run as running  # noqa: PLC0415  (half of the start-up, of commands that only read)

    raise typer.Exit(running.run(manifest, results, output, quiet=quiet))


for _name, _command in (
    ("validate", validate.command),
    ("algorithms", algorithms.command),
    ("estimate", estimate.command),
    ("report", report.command),
):
    app.command(name=_name)(_command)


def main() -> None:
    """Run the command; a manifest's faults are printed one a line, with exit code 2."""
    try:
        app()
    except ManifestError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)  # noqa: T201  (the command's own output)
        sys.exit(EXIT_INVALID)
