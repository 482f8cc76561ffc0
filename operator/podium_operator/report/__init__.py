"""Results drawn and tabulated: figures, a self-contained page, and CSV files."""
