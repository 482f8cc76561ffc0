"""What a run of a trial finds in its environment, and what its exit codes mean: the treaty between operator and trial."""

from enum import IntEnum

ENV_EXPERIMENT = "PODIUM_EXPERIMENT"
"""Name of the experiment."""
ENV_TRIAL = "PODIUM_TRIAL"
"""Name of the trial."""
ENV_NUMBER = "PODIUM_TRIAL_NUMBER"
ENV_ATTEMPT = "PODIUM_ATTEMPT"
"""1 for the trial's first run, 2 for the next ..."""
ENV_PARAMETERS = "PODIUM_PARAMETERS"
"""Every active parameter in one JSON object, types kept."""
ENV_RESOURCE = "PODIUM_RESOURCE"
"""What a step is called: epoch, tree ..."""
ENV_TARGET = "PODIUM_TARGET_STEP"
"""Train up to this step, then end with exit code 0; absent: train until done."""
ENV_CHECKPOINTS = "PODIUM_CHECKPOINT_DIR"
"""The trial's own folder of checkpoints; it outlives the run."""
ENV_PARENT_CHECKPOINTS = "PODIUM_PARENT_CHECKPOINT_DIR"
"""A clone's source: used while the trial has no checkpoint of its own."""
ENV_PARENT_STEP = "PODIUM_PARENT_STEP"
"""The step whose checkpoint a clone starts from; its source may have gone on since."""
ENV_METRICS_PORT = "PODIUM_METRICS_PORT"
"""Where to serve the reports; 0: any free port, written to the port file."""
ENV_METRICS_HOST = "PODIUM_METRICS_HOST"
"""The address to serve on; absent: all."""
ENV_METRICS_PORT_FILE = "PODIUM_METRICS_PORT_FILE"
ENV_TERMINATION_LOG = "PODIUM_TERMINATION_LOG"
"""Where the final reports go; Kubernetes' own place when absent."""
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
ENV_SEED = "PODIUM_SEED"
"""A seed for the trial's own randomness, derived from the experiment's seed and the trial's number."""
ENV_RUN_MARK = "PODIUM_RUN"
"""Unique to one run: whatever process carries it belongs to the run."""


class ExitCode(IntEnum):
    """Exit codes that mean something to Podium; any other but 0 is a failure of the user's code."""

    DONE = 0
    CHECKPOINTED = 75
    """Asked to stop (SIGTERM), it wrote a checkpoint and can go on later (EX_TEMPFAIL)."""
