"""`python -m podium_suggestion`: the suggestion service, set up by PODIUM_* variables (see settings.py)."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence

import uvicorn

from podium_suggestion.service import TokenFile, create_app
from podium_suggestion.settings import LogFormat, SettingsError, settings_from
from podium_suggestion.store import StoreError, open_store

_EXIT_USAGE = 2
_GRACE_SECONDS = 20
"""How long exchanges that have begun may take to end after SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; 2 when the service cannot be set up as asked."""
    parser = argparse.ArgumentParser(prog="podium_suggestion", description="Podium's suggestion service.")
    parser.add_argument("--insecure", action="store_true", help="serve without a token: anybody may call")
    options = parser.parse_args(arguments)
    try:
        settings = settings_from(os.environ, insecure=options.insecure)
        token = TokenFile(settings.token_file) if settings.token_file else None
        store = open_store(settings.store_url)
    except (SettingsError, StoreError, ValueError) as fault:
        sys.stderr.write(f"podium_suggestion: {fault}\n")
        return _EXIT_USAGE
    _log_to_stderr(settings.log_format)
    if token is None:
        logging.getLogger(__name__).warning("serving without a token: anybody may call")
    uvicorn.run(
        create_app(store, token, settings.max_request_bytes),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return 0


def _log_to_stderr(log_format: LogFormat) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


if __name__ == "__main__":
    sys.exit(main())
