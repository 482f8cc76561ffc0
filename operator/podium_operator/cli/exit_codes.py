"""What the `podium` command's exit codes mean."""

EXIT_COMPLETE = 0
EXIT_FAILED = 1
EXIT_INVALID = 2
"""A manifest, or the command line, breaks a rule."""
EXIT_CANNOT_GO_ON = 3
"""Disk, folder or store are at fault; nothing is lost."""
EXIT_INTERRUPTED = 130
