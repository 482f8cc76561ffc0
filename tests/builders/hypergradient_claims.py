"""What hypergradients claim, each as a function that fails where it does not hold, in float64.

The unit tests call them where torch is installed; the end-to-end tests run this file as a trial in the image with torch, so
it needs that image's packages alone.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import podium_trial
from podium_trial.hypergradients import (
    HypergradientError,
    Loss,
    Solver,
    Tensors,
    conjugate_gradient,
    descend,
    implicit,
    neumann,
    unrolled,
)

F64 = torch.float64
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)


def finite_differences(of: Callable[[Tensors], float], at: Tensors, width: float = 1e-5) -> Tensors:
    """Central differences of a function of several tensors, with respect to each of their numbers."""
    slopes = tuple(torch.zeros_like(tensor) for tensor in at)
    for part, slope in enumerate(slopes):
        for index in range(slope.numel()):

            def moved(by: float, part: int = part, index: int = index) -> float:
                copies = [tensor.clone() for tensor in at]
                copies[part].view(-1)[index] += by
                return of(tuple(copies))

            slope.view(-1)[index] = (moved(width) - moved(-width)) / (2 * width)
    return slopes


class Ridge:
    """Ridge regression with a strength exp(λ_j) for every weight, whose hypergradient has a closed form."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(3)
        self.x, self.y = torch.randn(40, 5, generator=rng, dtype=F64), torch.randn(40, generator=rng, dtype=F64)
        self.x_new, self.y_new = torch.randn(20, 5, generator=rng, dtype=F64), torch.randn(20, generator=rng, dtype=F64)
        self.hyper: Tensors = (torch.linspace(-3.0, 1.0, 5, dtype=F64),)
        self.curvature = self.x.T @ self.x / 40 + torch.diag(self.hyper[0].exp())
        self.minimum: Tensors = (torch.linalg.solve(self.curvature, self.x.T @ self.y / 40),)

    def training_loss(self, weights: Tensors, hyper: Tensors) -> Tensor:
        (w,), (strengths,) = weights, hyper
        return 0.5 * ((self.x @ w - self.y) ** 2).mean() + 0.5 * (strengths.exp() * w**2).sum()

    def validation_loss(self, weights: Tensors, _hyper: Tensors) -> Tensor:
        return 0.5 * ((self.x_new @ weights[0] - self.y_new) ** 2).mean()

    def closed_form(self, damping: float = 0.0) -> Tensor:
        """dV/dλ_j = -exp(λ_j) w_j q_j with Hq = ∂V/∂w, H = XᵀX/n + diag(exp λ)."""
        (w,) = self.minimum
        onto = self.x_new.T @ (self.x_new @ w - self.y_new) / 20
        return -self.hyper[0].exp() * w * torch.linalg.solve(self.curvature + damping * torch.eye(5, dtype=F64), onto)

    def implicitly(self, solve: Solver = conjugate_gradient, damping: float = 0.0) -> Tensor:
        return implicit(
            self.training_loss, self.validation_loss, self.minimum, self.hyper, solve=solve, damping=damping
        ).gradient[0]

    def unrolled_from_the_minimum(self, steps: int, window: int | None = None) -> Tensor:
        def step(_number: int, weights: Tensors, hyper: Tensors) -> Tensors:
            return descend(self.training_loss, weights, hyper, 0.2)

        return unrolled(step, self.validation_loss, self.minimum, self.hyper, steps=steps, window=window).gradient[0]


class Network:
    """A small network with hyperparameters in its training loss, its optimiser and its validation loss.

    Strengths of L2 for both layers, and for the examples weights; the logarithm of the learning rate; momentum's logit.
    """

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(5)
        self.x, self.y = torch.randn(12, 3, generator=rng, dtype=F64), torch.randn(12, generator=rng, dtype=F64)
        self.x_new, self.y_new = torch.randn(9, 3, generator=rng, dtype=F64), torch.randn(9, generator=rng, dtype=F64)
        first, second = (torch.randn(*shape, generator=rng, dtype=F64) for shape in ((3, 4), (4,)))
        self.weights: Tensors = (first, second, torch.zeros_like(first), torch.zeros_like(second))
        self.hyper: Tensors = (
            torch.tensor([-2.0, -1.0], dtype=F64),
            torch.linspace(-1.0, 1.0, 12, dtype=F64),
            torch.tensor(-2.5, dtype=F64),
            torch.tensor(0.4, dtype=F64),
        )

    def outputs(self, weights: Tensors, x: Tensor) -> Tensor:
        return torch.tanh(x @ weights[0]) @ weights[1]

    def training_loss(self, weights: Tensors, hyper: Tensors) -> Tensor:
        errors = (self.outputs(weights, self.x) - self.y) ** 2
        penalties = torch.stack([(weight**2).sum() for weight in weights[:2]])
        return (torch.sigmoid(hyper[1]) * errors).mean() + (hyper[0].exp() * penalties).sum()

    def validation_loss(self, weights: Tensors, hyper: Tensors) -> Tensor:
        return ((self.outputs(weights, self.x_new) - self.y_new) ** 2).mean() + 0.01 * (hyper[0] ** 2).sum()

    def step(self, number: int, weights: Tensors, hyper: Tensors) -> Tensors:
        """Heavy ball, at a rate that shrinks with the step's number."""
        rate, momentum = hyper[2].exp() / number**0.5, torch.sigmoid(hyper[3])
        moved = descend(self.training_loss, weights[:2], hyper, rate)
        steps = [
            m * v + (new - w) for m, v, new, w in zip([momentum] * 2, weights[2:], moved, weights[:2], strict=True)
        ]
        return (*(w + v for w, v in zip(weights[:2], steps, strict=True)), *steps)

    def loss_after(self, steps: int, hyper: Tensors) -> float:
        return float(unrolled(self.step, self.validation_loss, self.weights, hyper, steps=steps).loss)

    def near_minimum(self, hyper: Tensors) -> Tensors:
        """Where gradient descent comes to, near enough for Newton's method."""
        weights = self.weights[:2]
        for _ in range(400):
            tracked = tuple(weight.detach().requires_grad_() for weight in weights)
            weights = descend(self.training_loss, tracked, hyper, 0.1)
        return tuple(weight.detach() for weight in weights)

    def minimum(self, hyper: Tensors, start: Tensors) -> Tensors:
        """Where Newton's method ends: ‖∂L/∂w‖ < 1e-12."""

        def loss(flat: Tensor) -> Tensor:
            return self.training_loss((flat[:12].view(3, 4), flat[12:]), hyper)

        flat = torch.cat([weight.reshape(-1) for weight in start])
        for _ in range(6):
            flat = flat - torch.linalg.solve(torch.func.hessian(loss)(flat), torch.func.grad(loss)(flat))
        return flat[:12].view(3, 4), flat[12:]


def refused(words: str, call: Callable[[], object]) -> None:
    """Fail unless a call is refused in these words."""
    message = "nothing was refused"
    try:
        call()
    except HypergradientError as refusal:
        message = str(refusal)
    assert words in message, f"not in these words: {words}; but: {message}"


# --- exactness --------------------------------------------------------------------------------------------------


def implicit_gradient_is_ridges_closed_form() -> None:
    ridge = Ridge()
    close(ridge.implicitly(partial(conjugate_gradient, tolerance=1e-14)), ridge.closed_form())
    close(ridge.implicitly(partial(neumann, terms=400, rate=0.4)), ridge.closed_form())


def unrolled_gradient_tends_to_ridges_closed_form() -> None:
    ridge = Ridge()
    close(ridge.unrolled_from_the_minimum(400), ridge.closed_form())


def unrolled_gradient_is_that_of_finite_differences() -> None:
    network = Network()
    result = unrolled(network.step, network.validation_loss, network.weights, network.hyper, steps=15)
    expected = finite_differences(lambda hyper: network.loss_after(15, hyper), network.hyper)
    for slope, other in zip(result.gradient, expected, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-6, atol=1e-9)
        assert slope.abs().min() > 1e-7, "each of them has its influence"


def implicit_gradient_is_that_of_finite_differences_of_the_minimum() -> None:
    network, hyper = Network(), Network().hyper[:2]
    start = network.near_minimum(hyper)

    def loss_at_the_minimum(hyper: Tensors) -> float:
        return float(network.validation_loss(network.minimum(hyper, start), hyper))

    solve = partial(conjugate_gradient, tolerance=1e-13)
    weights = network.minimum(hyper, start)
    result = implicit(network.training_loss, network.validation_loss, weights, hyper, solve=solve)
    assert result.slope < 1e-12
    for slope, other in zip(result.gradient, finite_differences(loss_at_the_minimum, hyper), strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-6, atol=1e-9)


def neumann_series_is_the_window_of_as_many_steps_at_the_minimum() -> None:
    ridge = Ridge()
    for terms in (1, 2, 7):
        series = ridge.implicitly(partial(neumann, terms=terms, rate=0.2))
        close(ridge.unrolled_from_the_minimum(10, window=terms), series)


def state_of_the_optimiser_is_differentiated_too() -> None:
    """Momentum that is forgotten between windows, or detached, would spoil the agreement with finite differences."""
    network = Network()
    result = unrolled(network.step, network.validation_loss, network.weights, network.hyper, steps=6)
    (expected,) = finite_differences(
        lambda moved: network.loss_after(6, (*network.hyper[:3], *moved)), network.hyper[3:]
    )
    torch.testing.assert_close(result.gradient[3], expected, rtol=1e-7, atol=1e-10)
    assert len(result.weights) == 4


# --- options ----------------------------------------------------------------------------------------------------


def error_of_a_window_shrinks_geometrically_and_the_widest_window_has_none() -> None:
    """By (1 - rate · λ)^window, where λ is the least curvature; rate 0.2 as in `unrolled_from_the_minimum`."""
    ridge = Ridge()
    whole = ridge.unrolled_from_the_minimum(40)
    errors = [float((ridge.unrolled_from_the_minimum(40, window) - whole).norm()) for window in (5, 10, 20, 40)]
    contraction = 1 - 0.2 * float(torch.linalg.eigvalsh(ridge.curvature)[0])
    assert 0 < errors[1] < contraction**5 * errors[0]
    assert 0 < errors[2] < contraction**10 * errors[1]
    assert errors[3] == 0.0


def window_trains_no_other_weights() -> None:
    network = Network()
    whole, windowed = (
        unrolled(network.step, network.validation_loss, network.weights, network.hyper, steps=9, window=window)
        for window in (None, 2)
    )
    assert torch.equal(whole.loss, windowed.loss)
    assert all(torch.equal(one, other) for one, other in zip(whole.weights, windowed.weights, strict=True))


def damping_is_added_to_the_curvature() -> None:
    ridge = Ridge()
    damped = ridge.implicitly(partial(conjugate_gradient, tolerance=1e-14), damping=0.5)
    close(damped, ridge.closed_form(damping=0.5))
    assert damped.norm() < ridge.closed_form().norm()


def residual_tells_how_well_the_system_was_solved() -> None:
    generator = torch.Generator().manual_seed(1)
    root, target = (torch.randn(*shape, generator=generator, dtype=F64) for shape in ((6, 6), (6,)))
    matrix = root @ root.T / 6 + torch.eye(6, dtype=F64)
    solvers: list[Solver] = [
        *(partial(conjugate_gradient, iterations=iterations) for iterations in (1, 3)),
        partial(conjugate_gradient, tolerance=0.05),
        *(partial(neumann, terms=terms, rate=0.2) for terms in (1, 10)),
    ]
    for solve in solvers:
        vector, residual = solve(lambda given: matrix @ given, target)
        close(residual, float((matrix @ vector - target).norm() / target.norm()))
        assert residual > 1e-6
    assert conjugate_gradient(lambda given: matrix @ given, target, iterations=6).residual < 1e-6
    assert solvers[2](lambda given: matrix @ given, target).residual <= 0.05


def as_many_iterations_as_distinct_eigenvalues_are_enough() -> None:
    spectrum = torch.tensor([1.0, 1.0, 4.0, 4.0, 9.0], dtype=F64)
    target = torch.ones(5, dtype=F64)
    solution = conjugate_gradient(lambda given: spectrum * given, target, iterations=3, tolerance=0.0)
    close(solution.vector, target / spectrum)


# --- manners ----------------------------------------------------------------------------------------------------


def given_tensors_stay_as_they_are() -> None:
    ridge, network = Ridge(), Network()
    before = [tensor.clone() for tensor in (*ridge.hyper, *ridge.minimum, *network.weights, *network.hyper)]
    ridge.implicitly()
    result = unrolled(network.step, network.validation_loss, network.weights, network.hyper, steps=3, window=2)
    after = [*ridge.hyper, *ridge.minimum, *network.weights, *network.hyper]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not any(tensor.requires_grad or tensor.grad is not None for tensor in after)
    assert not any(tensor.requires_grad for tensor in (*result.weights, *result.gradient, result.loss))


def hyperparameter_without_influence_has_gradient_zero() -> None:
    ridge = Ridge()
    hyper = (*ridge.hyper, torch.ones(2, 3, dtype=F64))
    ignoring: Loss = lambda weights, given: ridge.training_loss(weights, given[:1])
    (first, second) = implicit(ignoring, ridge.validation_loss, ridge.minimum, hyper).gradient
    torch.testing.assert_close(first, ridge.closed_form(), rtol=1e-5, atol=1e-8)
    assert torch.equal(second, torch.zeros(2, 3, dtype=F64))


def impossible_demands_are_refused_with_their_remedy() -> None:
    ridge = Ridge()

    def step(_number: int, weights: Tensors, hyper: Tensors) -> Tensors:
        return descend(ridge.training_loss, weights, hyper, 0.2)

    def run(**options: int) -> object:
        return unrolled(step, ridge.validation_loss, ridge.minimum, ridge.hyper, **{"steps": 3, **options})

    def downwards(weights: Tensors, hyper: Tensors) -> Tensor:
        return -ridge.training_loss(weights, hyper)

    def errors(weights: Tensors, _hyper: Tensors) -> Tensor:
        return ridge.x_new @ weights[0] - ridge.y_new

    def at_the_end(
        training: Loss, validation: Loss = ridge.validation_loss, solve: Solver = conjugate_gradient
    ) -> object:
        return implicit(training, validation, ridge.minimum, ridge.hyper, solve=solve)

    for window in (0, 4):
        refused(f"1 <= window <= steps must hold, got window={window}, steps=3", partial(run, window=window))
    refused("got window=0, steps=0", partial(run, steps=0))
    refused("got shape (20,); take its mean", lambda: at_the_end(ridge.training_loss, errors))
    refused("got curvature -", lambda: at_the_end(downwards))
    series = partial(neumann, terms=50, rate=5.0)
    refused("grow at rate=5; lower the rate", lambda: at_the_end(ridge.training_loss, solve=series))
    refused("got curvature 0", lambda: at_the_end(lambda weights, _hyper: weights[0].sum()))
    refused(
        "the validation loss must depend on the hyperparameters",
        lambda: unrolled(
            lambda _number, weights, _hyper: weights, ridge.validation_loss, ridge.minimum, ridge.hyper, steps=1
        ),
    )
    refused(
        "the training loss must depend on the weights",
        lambda: at_the_end(lambda weights, hyper: ridge.training_loss((weights[0].detach(),), hyper)),
    )


CLAIMS: list[Callable[[], None]] = [
    implicit_gradient_is_ridges_closed_form,
    unrolled_gradient_tends_to_ridges_closed_form,
    unrolled_gradient_is_that_of_finite_differences,
    implicit_gradient_is_that_of_finite_differences_of_the_minimum,
    neumann_series_is_the_window_of_as_many_steps_at_the_minimum,
    state_of_the_optimiser_is_differentiated_too,
    error_of_a_window_shrinks_geometrically_and_the_widest_window_has_none,
    window_trains_no_other_weights,
    damping_is_added_to_the_curvature,
    residual_tells_how_well_the_system_was_solved,
    as_many_iterations_as_distinct_eigenvalues_are_enough,
    given_tensors_stay_as_they_are,
    hyperparameter_without_influence_has_gradient_zero,
    impossible_demands_are_refused_with_their_remedy,
]


def main() -> None:
    """Run all of them as a trial, which reports how many hold."""
    with podium_trial.start() as trial:
        for claim in CLAIMS:
            claim()
            print(claim.__name__, "holds", flush=True)
        trial.report(1, claims=len(CLAIMS))


if __name__ == "__main__":
    main()
