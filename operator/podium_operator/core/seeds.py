"""Seeds of the trials' own randomness: the same on the laptop and on the cluster."""

from hashlib import sha256


def trial_seed(experiment_seed: int, number: int) -> int:
    """Return the seed of a trial: 31 bits of a digest of (experiment seed, trial number)."""
    return int.from_bytes(sha256(f"{experiment_seed}/{number}".encode()).digest()[:4], "big") >> 1
