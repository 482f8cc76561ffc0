"""The room that decides: what to try next, what to stop and what to promote."""
