"""A container's log, asked for in pieces that overlap: each line is handed on once. Pure."""

from datetime import UTC, datetime, timedelta

MAX_PIECE_BYTES = 4 * 1024 * 1024
"""More than this of a log is not asked for at a time."""
OVERLAP = timedelta(seconds=2)
"""Standard output and standard error are stamped independently, so a line may come behind a later one by a little."""


class LogTail:
    """Takes in pieces of a log whose lines begin with time stamps, and gives their new lines without them."""

    def __init__(self) -> None:
        self._known: dict[str, datetime] = {}
        self._since: datetime | None = None

    @property
    def since(self) -> str | None:
        """The moment from which to ask for the next piece; None: from the beginning."""
        return None if self._since is None else self._since.isoformat().replace("+00:00", "Z")

    def take(self, piece: str) -> str:
        """Return the text that a piece adds; a last line without its end will come again, and waits for that."""
        lines = piece.split("\n")[:-1]
        new = [line for line in lines if line and line not in self._known]
        self._remember(new)
        if not new and len(piece) >= MAX_PIECE_BYTES // 2 and self._since is not None:
            self._since += OVERLAP  # one moment fills more than a piece: go on behind it, and leave the rest
        return "".join(f"{_text_of(line)}\n" for line in new)

    def _remember(self, lines: list[str]) -> None:
        self._known.update((line, moment) for line in lines if (moment := _moment_of(line)) is not None)
        if not self._known:
            return
        self._since = max(self._since or datetime.min.replace(tzinfo=UTC), max(self._known.values()) - OVERLAP)
        whole_second = self._since.replace(microsecond=0)
        self._known = {line: moment for line, moment in self._known.items() if moment >= whole_second}


def _text_of(line: str) -> str:
    return line.partition(" ")[2]


def _moment_of(line: str) -> datetime | None:
    stamp = line.partition(" ")[0].removesuffix("Z")
    whole, _, fraction = stamp.partition(".")
    try:
        moment = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        return moment + timedelta(microseconds=int(fraction[:6].ljust(6, "0")) if fraction else 0)
    except ValueError:
        return None
