"""The room that acts: a pure core that decides what to do, two backends that do it, and the `podium` command."""
