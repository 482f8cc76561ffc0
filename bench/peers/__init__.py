"""Other tuners, each in a virtual environment and a process of its own, spoken to in JSON lines."""
