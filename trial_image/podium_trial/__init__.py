"""The room that runs one trial: the SDK a training script imports.

```python
import podium_trial

with podium_trial.start() as trial:
    model = trial.restore()
    if model is None:
        model = build(**trial.parameters)
    for step in trial.steps(until=trial.target or 50):
        train_one_epoch(model)
        trial.report(step, val_accuracy=accuracy(model))
        trial.save(step, model)
```

Report a step, then save it: the reports made so far are stored with the checkpoint, so that neither is lost. To save
rarely, ask `trial.is_save_due(step, every=10)`. A framework that writes files itself gets a folder to fill,
`with trial.checkpoint(step) as folder:`, and `restore` returns that folder. The run ends with exit code 0 at its target,
and with 75 when it was asked to stop (SIGTERM); it resumes from its last checkpoint, or from the start without one.

The script runs unchanged without Podium: parameters are then empty and there is no target, reports are printed, and
checkpoints go to ./checkpoints, from which the next run by hand goes on.
"""

from podium_trial.checkpoints import CheckpointError
from podium_trial.session import Trial, start

__all__ = ["CheckpointError", "Trial", "start"]
