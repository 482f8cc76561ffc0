"""Find wrong labels by hypergradients: a weight for each of 1 079 training examples, tuned within one trial.

Of the digits' training labels two fifths are drawn at random here; which ones, the training is not told. Softmax regression
has a weight for every example and one strength of L2. An update trains it from the start, takes the gradient of the
validation loss with respect to all of those at once, and moves them along it (Franceschi et al. 2017, data hyper-cleaning).

The method `constant` is what a search from outside could do with as many trainings: every update trains with the next of
the strengths between 1e-7 and 10, all examples weighing the same; reported is the best of them so far.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import podium_trial
from podium_trial.data import Part, bundled_dataset
from podium_trial.hypergradients import Tensors, conjugate_gradient, descend, implicit, unrolled

UPDATES, STEPS, RATE, MOMENTUM = 15, 60, 0.1, 0.9

torch.set_num_threads(1)  # trials share a machine


def tensors(part: Part) -> Tensors:
    return torch.tensor(part.features, dtype=torch.float32), torch.tensor(part.targets, dtype=torch.int64)


digits = bundled_dataset("digits")
(x, truth), (x_val, y_val), (x_test, y_test) = (tensors(p) for p in (digits.train, digits.validation, digits.test))
luck = torch.Generator().manual_seed(1)
drawn = torch.randint(digits.outputs, truth.shape, generator=luck)
y = torch.where(torch.rand(truth.shape, generator=luck) < 0.4, drawn, truth)
is_wrong = y != truth


def example_weights(hyper: Tensors) -> Tensor:
    """Between 0 and 2; 1 where nothing has been learnt."""
    return 2.0 * torch.sigmoid(hyper[0])


def training_loss(weights: Tensors, hyper: Tensors) -> Tensor:
    each = cross_entropy(x @ weights[0] + weights[1], y, reduction="none")
    return (example_weights(hyper) * each).mean() + hyper[1].exp() * (weights[0] ** 2).sum()


def validation_loss(weights: Tensors, _hyper: Tensors) -> Tensor:
    return cross_entropy(x_val @ weights[0] + weights[1], y_val)


def step(_number: int, state: Tensors, hyper: Tensors) -> Tensors:
    """Gradient descent with momentum: the state is weights and biases, then the velocities of both."""
    weights, velocities = state[:2], state[2:]
    descended = descend(training_loss, weights, hyper, RATE)
    moves = [MOMENTUM * v + (after - w) for v, after, w in zip(velocities, descended, weights, strict=True)]
    return (*(w + move for w, move in zip(weights, moves, strict=True)), *moves)


def train(hyper: Tensors, method: str) -> tuple[Tensors, Tensors]:
    """Return trained weights, and the hypergradient there (of the last step alone, where it is not asked for)."""
    start = (torch.zeros(x.shape[1], digits.outputs), torch.zeros(digits.outputs))
    state = (*start, *(torch.zeros_like(weight) for weight in start))
    window = STEPS if method == "unrolled" else 1
    made = unrolled(step, validation_loss, state, hyper, steps=STEPS, window=window)
    weights = made.weights[:2]
    if method == "implicit":
        solve = partial(conjugate_gradient, iterations=50, tolerance=1e-3)
        return weights, implicit(training_loss, validation_loss, weights, hyper, solve=solve, damping=1e-4).gradient
    return weights, made.gradient


def scores(weights: Tensors, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return loss and accuracy."""
    outputs = x @ weights[0] + weights[1]
    return float(cross_entropy(outputs, y)), float((outputs.argmax(dim=1) == y).float().mean())


def main() -> None:
    with podium_trial.start() as trial:
        method, rate = trial.parameters.get("method", "unrolled"), trial.parameters.get("rate", 0.3)
        ladder = torch.logspace(-7, 1, UPDATES).log()
        hyper = (torch.zeros(len(y)), torch.tensor(-4.6))
        optimizer = torch.optim.Adam(hyper, lr=rate)
        best = (float("inf"),) * 4
        saved = trial.restore()
        if saved is not None:
            best = saved["best"]
            optimizer.load_state_dict(saved["optimizer"])
            for value, old in zip(hyper, saved["hyper"], strict=True):
                value.copy_(old)
        for update in trial.steps(until=UPDATES):
            if method == "constant":
                hyper[1].copy_(ladder[update - 1])
            weights, gradient = train(hyper, method)
            now = (*scores(weights, x_val, y_val), *scores(weights, x_test, y_test))
            best = min(best, now) if method == "constant" else now
            names = ("val_loss", "val_accuracy", "test_loss", "test_accuracy")
            right, wrong = (float(example_weights(hyper)[rows].mean()) for rows in (~is_wrong, is_wrong))
            trial.report(update, dict(zip(names, best, strict=True)), weight_if_right=right, weight_if_wrong=wrong)
            if method != "constant":
                for value, slope in zip(hyper, gradient, strict=True):
                    value.grad = slope
                optimizer.step()
            trial.save(update, {"hyper": hyper, "optimizer": optimizer.state_dict(), "best": best})


if __name__ == "__main__":
    main()
