"""Tables of figures: made once, shown in the terminal by rich and in the documentation as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table as RichTable


@dataclass
class Figures:
    """A table: what it shows, its columns' names, and rows of text whose first cell names the row."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, *cells: str) -> None:
        self.rows.append([name, *cells])

    def rich(self) -> RichTable:
        table = RichTable(title=self.title, title_justify="left", title_style="bold", caption="\n".join(self.notes))
        table.caption_justify = "left"
        for index, column in enumerate(self.columns):
            table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Return the table for a document, the best figure of each row as it was marked."""
        head = "| " + " | ".join(self.columns) + " |"
        rule = "|" + "|".join(" --- " if index == 0 else " ---: " for index in range(len(self.columns))) + "|"
        body = ["| " + " | ".join(row) + " |" for row in self.rows]
        notes = ["", *self.notes] if self.notes else []
        return "\n".join([f"**{self.title}**", "", head, rule, *body, *notes, ""])


def not_run(errors: Mapping[tuple[str, str], str]) -> Figures:
    """Return a table of what could not be run and why, from errors by task and method."""
    table = Figures("what could not be run", ["method", "task", "why"])
    for (task, name), error in sorted(errors.items(), key=lambda item: item[0][::-1]):
        table.add(name, task, error[:160])
    return table


def counted(count: int, noun: str) -> str:
    """Return `1 seed`, `20 seeds`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def number(value: float, digits: int = 3) -> str:
    """Return a figure in few characters: `0.052`, `12.3`, `4 210`, `never` for infinity."""
    if value == float("inf"):
        return "never"
    if value != value:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.{digits}f}"
