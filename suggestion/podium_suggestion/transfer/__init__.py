"""What an experiment takes from earlier ones: which, how their spaces map, where to start, and the record of it."""
