"""The room that runs one trial: the SDK a training script imports.

```python
import podium_trial

with podium_trial.start() as trial:
    model = trial.restore() or build(trial.parameters)
    for step in trial.steps():
        train_one_epoch(model)
        trial.report(step, val_accuracy=accuracy(model))
        trial.save(step, model)
```

The script runs unchanged without Podium: parameters are then empty, reports are printed, and checkpoints go to
./checkpoints.
"""

from podium_trial.checkpoints import CheckpointError
from podium_trial.session import Trial, start

__all__ = ["CheckpointError", "Trial", "start"]
