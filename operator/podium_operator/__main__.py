"""Entry point of the `podium` command. It says what to install when a part is missing, instead of a traceback."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from podium_operator.cli.app import main as run_command  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.startswith("podium"):
            raise
        message = f"the podium command needs '{missing.name}', which is not installed; run: pip install 'podium[local]'"
        print(message, file=sys.stderr)  # noqa: T201  (the command's own output)
        sys.exit(3)
    run_command()


if __name__ == "__main__":
    main()
