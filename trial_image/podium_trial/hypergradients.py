"""Gradients of a validation loss with respect to hyperparameters, through the training that they shape.

Training with hyperparameters λ ends at weights w(λ), and V(w(λ), λ) is their validation loss. Its hypergradient

    dV/dλ = ∂V/∂λ + (dw/dλ)ᵀ ∂V/∂w

tells how to change thousands of λ at once (a strength of regularisation for every weight, a weight for every example),
where a search from outside can try but a few values of a few. Two ways to get it:

- `unrolled` differentiates the training steps themselves, in reverse (Maclaurin et al. 2015, Franceschi et al. 2017). It
  is exact for the steps that are made, whatever they are, and remembers all of them, or the last `window` only.
- `implicit` differentiates the condition ∂L/∂w = 0 that the end of training fulfils (Pedregosa 2016, Lorraine et al.
  2020). Its memory does not grow with the steps, but it is right only as far as training has converged.

```python
def training_loss(weights, hyper):   # tuples of tensors in, a single number out
    (w,), (strengths,) = weights, hyper
    return ((x @ w - y) ** 2).mean() + (strengths.exp() * w**2).sum()

result = implicit(training_loss, validation_loss, weights, hyper)
strengths.grad = result.gradient[0]  # for any optimiser of torch
```

Everything here is a function of its arguments: tensors that are given get no `grad`, and need no `requires_grad`. This
module alone of the SDK needs torch: pip install 'podium[torch]'.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
"""Weights, or hyperparameters, of any shapes."""
Loss = Callable[[Tensors, Tensors], Tensor]
"""(weights, hyperparameters) -> loss, a single number."""
Step = Callable[[int, Tensors, Tensors], Tensors]
"""(number, weights, hyperparameters) -> weights after step `number`, counted from 1.

What an optimiser remembers (momentum ...) goes along as further tensors of the weights. Whatever the step takes from its
arguments is differentiated, a learning rate among the hyperparameters included.
"""
Product = Callable[[Tensor], Tensor]
"""v -> Hv for a symmetric matrix H that nobody has to write down; both of shape (p,)."""
Slopes = tuple[Tensor | None, ...]
"""As torch gives them: None where there is no influence."""


class HypergradientError(ValueError):
    """A hypergradient that does not exist, or cannot be computed this way; the message says what to change."""


@dataclass(frozen=True)
class Hypergradient:
    """A validation loss and its slope."""

    loss: Tensor
    """V, of shape ()."""
    gradient: Tensors
    """dV/dλ, one tensor for each hyperparameter, of its shape; zeros for one that has no influence."""


@dataclass(frozen=True)
class Unrolled(Hypergradient):
    """A hypergradient through training steps."""

    weights: Tensors
    """After the last step; what the optimiser remembers included."""


@dataclass(frozen=True)
class Implicit(Hypergradient):
    """A hypergradient at the end of training, with what bounds its error (Pedregosa 2016, theorem 1)."""

    slope: float
    """‖∂L/∂w‖: the gradient is exact only where this is 0."""
    residual: float
    """‖Hq - ∂V/∂w‖ / ‖∂V/∂w‖ of the linear system that was solved: 0 when it was solved exactly."""


class Solution(NamedTuple):
    """An approximate solution q of Hq = v."""

    vector: Tensor
    """q, of shape (p,)."""
    residual: float
    """‖Hq - v‖ / ‖v‖."""


Solver = Callable[[Product, Tensor], Solution]
"""(v -> Hv, v) -> q with Hq = v, about."""


def unrolled(
    step: Step, validation_loss: Loss, weights: Tensors, hyper: Tensors, *, steps: int, window: int | None = None
) -> Unrolled:
    """Make training steps w_t = Φ_t(w_{t-1}, λ) from the given weights, and differentiate the loss that they lead to.

        dV/dλ = ∂V/∂λ + Σ_t (∂Φ_t/∂λ)ᵀ (∂Φ_{t+1}/∂w)ᵀ ... (∂Φ_T/∂w)ᵀ ∂V/∂w

    With a `window` the sum keeps its last terms only, so that the memory of `window` steps is enough. What is left out
    decays geometrically where training contracts (Shaban et al. 2019), and is a bias towards short-sighted hyperparameters
    elsewhere (Wu et al. 2018). Raises HypergradientError when no hyperparameter reaches the loss.
    """
    kept = steps if window is None else window
    if not 1 <= kept <= steps:
        raise HypergradientError(f"1 <= window <= steps must hold, got window={kept}, steps={steps}; correct them")
    state, values, leaves = _leaves(weights), _detached(hyper), _leaves(hyper)
    for number in range(1, steps - kept + 1):
        state = _leaves(step(number, state, values))
    for number in range(steps - kept + 1, steps + 1):
        state = step(number, state, leaves)
    loss = validation_loss(state, leaves)
    gradient = _gradient(loss, leaves, "the validation loss must depend on the hyperparameters")
    return Unrolled(loss.detach(), gradient, _detached(state))


def descend(loss: Loss, weights: Tensors, hyper: Tensors, rate: float | Tensor) -> Tensors:
    """Return w - rate · ∂L/∂w, for use in a Step: the result remembers how it came about."""
    slopes = _gradient(loss(weights, hyper), weights, "the training loss must depend on the weights", keep=True)
    return tuple(weight - rate * slope for weight, slope in zip(weights, slopes, strict=True))


def conjugate_gradient(product: Product, target: Tensor, *, iterations: int = 100, tolerance: float = 1e-6) -> Solution:
    """Solve Hq = v for positive definite H (Hestenes and Stiefel 1952).

    Ends when the residual is at most `tolerance`, or after so many `iterations`, of one product each: as many as H has
    distinct eigenvalues are enough, but for rounding. Raises HypergradientError when H curves downwards somewhere.
    """
    solution, remainder = torch.zeros_like(target), target
    direction, squared, scale = remainder, remainder @ remainder, target.norm()
    for _ in range(iterations):
        if squared.sqrt() <= tolerance * scale:
            break
        image = product(direction)
        curvature = direction @ image
        if not curvature > 0:  # NaN included
            raise HypergradientError(
                "conjugate gradients need a training loss that curves upwards in every direction, "
                f"got curvature {float(curvature / (direction @ direction)):g}; train until it converges, or add damping"
            )
        length = squared / curvature
        solution, remainder = solution + length * direction, remainder - length * image
        before, squared = squared, remainder @ remainder
        direction = remainder + (squared / before) * direction
    return Solution(solution, _relative(remainder, scale))


def neumann(product: Product, target: Tensor, *, terms: int, rate: float) -> Solution:
    """Solve Hq = v by q = rate · Σ_{j < terms} (I - rate · H)^j v (Lorraine et al. 2020), of one product each.

    At a minimum this is `unrolled` through the last `terms` steps of gradient descent at that rate, without their memory.
    Converges where 0 < rate · H < 2. Raises HypergradientError when a term grows, which is the sign of the contrary.
    """
    total, term, scale = torch.zeros_like(target), target, target.norm()
    for _ in range(terms):
        total = total + rate * term
        before, term = term, term - rate * product(term)
        if not term.norm() <= before.norm() * (1 + 1e-4):  # NaN included; the margin is for rounding in float32
            raise HypergradientError(
                f"a Neumann series needs 0 < rate * curvature < 2, got terms that grow at rate={rate:g}; "
                "lower the rate, train until the loss converges, or add damping"
            )
    return Solution(total, _relative(term, scale))


def implicit(
    training_loss: Loss,
    validation_loss: Loss,
    weights: Tensors,
    hyper: Tensors,
    *,
    solve: Solver = conjugate_gradient,
    damping: float = 0.0,
) -> Implicit:
    """Differentiate through the end of training by the implicit function theorem, at weights where ∂L/∂w = 0.

        dV/dλ = ∂V/∂λ - (∂²L/∂w∂λ)ᵀ q,   (H + damping · I) q = ∂V/∂w,   H = ∂²L/∂w²

    `solve` finds q from products with H: `conjugate_gradient`, or `partial(neumann, terms=20, rate=0.1)`. `damping` makes
    the system solvable where H is not positive definite, and draws the gradient towards 0.
    """
    weights, hyper = _leaves(weights), _leaves(hyper)
    slope = _flat(
        _gradient(training_loss(weights, hyper), weights, "the training loss must depend on the weights", keep=True)
    )
    loss = validation_loss(weights, hyper)
    onto_all = _gradient(loss, weights + hyper, "the validation loss must depend on the weights")
    onto_weights, directly = _flat(onto_all[: len(weights)]), onto_all[len(weights) :]

    def curvature(vector: Tensor) -> Tensor:
        return _flat(_transposed_product(slope, weights, vector)) + damping * vector

    solution = solve(curvature, onto_weights)
    through_weights = _transposed_product(slope, hyper, solution.vector)
    gradient = tuple(direct - through for direct, through in zip(directly, through_weights, strict=True))
    return Implicit(loss.detach(), gradient, float(slope.detach().norm()), solution.residual)


def _leaves(tensors: Tensors) -> Tensors:
    """Return the same values, without their past, as something to differentiate with respect to."""
    return tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)


def _detached(tensors: Tensors) -> Tensors:
    return tuple(tensor.detach() for tensor in tensors)


def _gradient(loss: Tensor, leaves: Tensors, rule: str, *, keep: bool = False) -> Tensors:
    """Return ∂loss/∂leaves, with zeros for those without influence; `keep` tells whether it is differentiated again."""
    if loss.numel() != 1:
        raise HypergradientError(f"a loss must be a single number, got shape {tuple(loss.shape)}; take its mean")
    slopes: Slopes = (
        torch.autograd.grad(loss, leaves, create_graph=keep, allow_unused=True) if loss.requires_grad else ()
    )
    if all(slope is None for slope in slopes):
        raise HypergradientError(f"{rule}, got one that does not; compute it from the tensors given, undetached")
    return _filled(slopes, leaves)


def _transposed_product(outputs: Tensor, leaves: Tensors, vector: Tensor) -> Tensors:
    """Return (∂outputs/∂leaves)ᵀ vector for outputs of shape (p,)."""
    if not outputs.requires_grad:  # a loss that is linear in the weights
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return _filled(torch.autograd.grad(outputs, leaves, vector, retain_graph=True, allow_unused=True), leaves)


def _filled(slopes: Slopes, leaves: Tensors) -> Tensors:
    """Return slopes with zeros where there is no influence."""
    pairs = zip(slopes, leaves, strict=True)
    return tuple(torch.zeros_like(leaf) if slope is None else slope for slope, leaf in pairs)


def _flat(tensors: Tensors) -> Tensor:
    """Return all numbers as one vector of shape (p,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _relative(remainder: Tensor, scale: Tensor) -> float:
    return float(remainder.norm() / scale) if scale > 0 else 0.0
