"""Train one model on one table: `python -m podium_trial.train --dataset digits --model mlp`.

Run by Podium, hyperparameters come from the trial; a flag given on the command line wins. The resource is the epoch (mlp) or
the tree (boosting). Reported to the tuner: val_loss, and val_accuracy (classification) or val_rmse and val_r2 (regression),
with train_loss and the model's size. The test rows stay out of it: their score is printed when the last step is done.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Before numpy reads them: trials share a machine, and more threads only slow such small matrices down.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import podium_trial  # noqa: E402  (see above)
from podium_trial.data import BUNDLED, DataError, Dataset, bundled_dataset, csv_dataset  # noqa: E402  (see above)
from podium_trial.models import Model, model_settings, new_model, scores, take_up  # noqa: E402  (see above)

DEFAULT_STEPS = {"mlp": 27, "boosting": 81}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train as the command line and the trial's parameters say."""
    options, flags = _parse(arguments)
    with podium_trial.start() as trial:
        try:
            data = _dataset(options)
            settings = model_settings(options.model, {**trial.parameters, **flags})
            model: Model | None = trial.restore()
            if model is None:
                model = new_model(settings, data, trial.seed if options.seed is None else options.seed)
            else:
                take_up(model, options.model, settings, data)
        except ValueError as fault:
            sys.exit(str(fault))
        for step in trial.steps(until=None if trial.target else options.steps or DEFAULT_STEPS[options.model]):
            train_loss = model.train_step(data.train)
            trial.report(step, {**scores(model, data.validation, data), "train_loss": train_loss, "size": model.size})
            trial.save(step, model)
        _print_scores("test", scores(model, data.test, data))


def _dataset(options: argparse.Namespace) -> Dataset:
    if options.csv is not None:
        if options.target is None:
            raise DataError("--csv needs --target, got none; name the column to predict")
        return csv_dataset(options.csv, options.target, options.task)
    return bundled_dataset(options.dataset)


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Mapping[str, str]]:
    """Return the options, and the hyperparameters given as further flags (`--lr 0.1` or `--lr=0.1`)."""
    parser = argparse.ArgumentParser(
        prog="python -m podium_trial.train",
        description="Train one model on one table. Hyperparameters: further flags, such as --lr=0.1.",
        epilog="mlp: layers width taper activation optimizer lr momentum nesterov beta1 beta2 batch weight_decay "
        "dropout lr_decay. boosting: lr leaves depth min_leaf l2 features.",
    )
    parser.add_argument("--dataset", default="digits", help=f"one of {', '.join(BUNDLED)} (default: digits)")
    parser.add_argument("--csv", type=Path, help="a CSV file with a header, instead of --dataset")
    parser.add_argument("--target", help="the CSV file's column to predict")
    parser.add_argument("--task", choices=["classification", "regression"], help="default: judged by the target column")
    parser.add_argument("--model", choices=["mlp", "boosting"], default="mlp")
    parser.add_argument("--steps", type=int, help="epochs or trees; a trial's own target wins")
    parser.add_argument("--seed", type=int, help="default: the trial's own")
    options, rest = parser.parse_known_args(arguments)
    flags: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        if not word.startswith("--"):
            parser.error(f"unexpected argument: {word}")
        name, equals, value = word[2:].partition("=")
        flags[name.replace("-", "_")] = value if equals else next(words, "")
    return options, flags


def _print_scores(part: str, values: Mapping[str, float]) -> None:
    text = "  ".join(f"{name.removeprefix('val_')}={value:.4f}" for name, value in values.items())
    print(f"{part}: {text}", flush=True)  # noqa: T201  (the program's own output)


if __name__ == "__main__":
    main()
