"""Every sampler and scheduler by name, with its settings, defaults and meanings: what a manifest may ask for.

The suggestion room implements exactly these; `podium algorithms` prints them; the CRD's schema and rules come from them.
Two algorithms may share a setting's name only with the same type, because the CRD holds one schema for all of them.
"""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, StrictBool, StrictInt, model_validator

from podium_contract.model import Count, FieldError, Finite, Model
from podium_contract.names import DNS_LABEL


class NoSettings(Model):
    """This algorithm has nothing to set."""


# --- samplers: what to try ------------------------------------------------------------------------------------


Share = Annotated[Finite, Field(ge=0, le=1)]
"""A part of a whole that a user writes: between 0 and 1, both included."""


class WarmStart(Model):
    """Which earlier experiments to learn from: those named, or those whose data sets are most alike.

    They are of the same namespace and in the same store, share parameters by name, and have the same objectives. What is
    taken from them is taken once, when the experiment begins.
    """

    experiments: (
        Annotated[list[Annotated[str, Field(pattern=DNS_LABEL, max_length=50)]], Field(min_length=1, max_length=16)]
        | None
    ) = None
    """Names of the experiments to learn from; absent: those that state `metaFeatures` most like these."""
    max_experiments: Annotated[StrictInt, Field(ge=1, le=16)] = 5
    """How many experiments are chosen by `metaFeatures` at most, the most alike first."""
    starting_points: Annotated[StrictInt, Field(ge=0, le=100)] = 5
    """How many of their best configurations, unlike each other, are tried before the search takes over."""
    learn_from_results: StrictBool = True
    """Let the models of tpe, gp and auto learn from their results, as far as these agree with the experiment's own."""


class _Search(Model):
    seed: Annotated[StrictInt, Field(ge=0, le=2**53)] = 0
    """Same seed, same manifest, same results: the same decisions (exactly so with parallelism 1)."""
    points: Annotated[
        list[Annotated[dict[str, JsonValue], Field(min_length=1, max_length=256)]], Field(max_length=256)
    ] = []
    """Configurations to try first, in this order, each once. What one leaves out takes its default, or what the search
    would have tried; a conditional parameter needs its parents beside it."""
    warm_start: WarmStart | None = None
    """Begin with what earlier experiments have found."""
    meta_features: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$")], Annotated[Finite, Field(ge=0)]],
        Field(max_length=64),
    ] = {}
    """What the data set is like, in numbers: `{rows: 1797, columns: 64, classes: 10}`. Later experiments find it by them."""

    @model_validator(mode="after")
    def _finds_sources(self) -> Self:
        if self.warm_start is not None and self.warm_start.experiments is None and not self.meta_features:
            raise FieldError(
                ".warmStart",
                "a warm start names experiments or is chosen by metaFeatures, got neither; add warmStart.experiments, "
                "or metaFeatures beside warmStart",
            )
        return self


class GridSettings(Model):
    points_per_parameter: Annotated[StrictInt, Field(ge=2, le=1_000_000)] | None = None
    """Values taken from each numeric range; absent: as many as `maxTrials` affords, evenly spaced, both ends included."""


class GridSearch(_Search):
    """Every combination of evenly spaced values, in a fixed order; ends when there are no more."""

    algorithm: Literal["grid"]
    settings: GridSettings = GridSettings()


class RandomSearch(_Search):
    """Independent draws, uniform on each parameter's scale (Bergstra and Bengio, 2012)."""

    algorithm: Literal["random"]
    settings: NoSettings = NoSettings()


class SobolSearch(_Search):
    """Scrambled Sobol points: random search without its clumps and gaps (Owen, 1998)."""

    algorithm: Literal["sobol"]
    settings: NoSettings = NoSettings()


class TpeSettings(Model):
    startup_trials: Count = 10
    """Trials placed by a Sobol sequence before the model takes over."""
    candidates: Annotated[StrictInt, Field(ge=1, le=10_000)] = 24
    """Points drawn from the model of good trials at each ask; the one most typical of good trials is tried."""
    prior_weight: Annotated[Finite, Field(gt=0)] = 1.0
    """Weight of the uniform prior relative to one finished trial: larger explores more."""
    multivariate: StrictBool = True
    """Model parameters jointly, so that interactions are found; false models each one by itself."""
    fidelity: Literal["refined", "highest"] = "refined"
    """refined: learn from every rung that has not proved misleading, longer training deciding between trials that have it;
    highest: learn from the highest rung that `startupTrials` have reached, and from it alone (BOHB)."""


class TpeSearch(_Search):
    """Tree-structured Parzen estimator: draws where good trials are dense and bad ones rare (Bergstra et al., 2011)."""

    algorithm: Literal["tpe"]
    settings: TpeSettings = TpeSettings()


class GpSettings(Model):
    startup_trials: Count = 10
    """Trials placed by a Sobol sequence before the model takes over."""
    acquisition: Literal["log-ei", "ei", "ucb", "pi"] = "log-ei"
    """What makes a point promising: expected improvement or its logarithm, an optimistic bound, or the chance to improve."""
    exploration: Annotated[Finite, Field(ge=0)] = 2.0
    """How many standard deviations below its mean `ucb` takes a prediction: larger explores more."""
    margin: Annotated[Finite, Field(ge=0)] = 0.01
    """By how much `pi` wants to improve, in standard deviations of the losses: larger explores more."""
    output_warping: Literal["power", "rank", "none"] = "power"
    """How losses are brought near a normal distribution: by Yeo and Johnson's power, by their ranks, or not at all."""
    input_warping: StrictBool = False
    """Learn for each ordered parameter where in its range the loss moves faster (Snoek et al., 2014)."""
    closing_share: Share = 0.1
    """The last share of `maxTrials` explores no more, one trial at a time: each is where the best is predicted."""


class GpSearch(_Search):
    """Gaussian process: models the loss over the whole space, tries where improvement is expected (Snoek et al., 2012)."""

    algorithm: Literal["gp"]
    settings: GpSettings = GpSettings()


class ForestSettings(Model):
    startup_trials: Count = 6
    """Trials placed by a Sobol sequence before the model takes over."""
    trees: Annotated[StrictInt, Field(ge=2, le=1000)] = 24
    """Trees of the forest; they disagree where little is known, and more of them say so more smoothly."""
    random_share: Share = 0.05
    """How many of the trials are drawn at random instead, lest the model never learns where it is wrong."""


class ForestSearch(_Search):
    """Random-forest surrogate with expected improvement, for any space (SMAC: Hutter et al., 2011)."""

    algorithm: Literal["forest"]
    settings: ForestSettings = ForestSettings()


Population = Annotated[StrictInt, Field(ge=4, le=10_000)]
Step = Annotated[Finite, Field(gt=0, le=1)]
"""A distance on the unit cube, whose sides are the parameters' ranges on their scales."""


class CmaesSettings(Model):
    startup_trials: Count = 10
    """Trials placed by a Sobol sequence, the best of which are where the search begins."""
    population: Population | None = None
    """Trials of one generation; absent: 4 + 3 ln(parameters), rounded down."""
    initial_step: Step = 0.15
    """Standard deviation of the first generation, relative to the parameters' ranges."""
    restarts: Literal["bipop", "ipop", "none"] = "bipop"
    """What follows convergence: generations twice as large (ipop), those and small local ones in turns (bipop), or none."""


class CmaesSearch(_Search):
    """CMA-ES with restarts, for ordered parameters that are always active (Hansen, 2016)."""

    algorithm: Literal["cmaes"]
    settings: CmaesSettings = CmaesSettings()


class EvolutionSettings(Model):
    startup_trials: Count = 10
    """Trials placed by a Sobol sequence before the model takes over; differential: a whole population at least."""
    variant: Literal["regularised", "differential"] = "regularised"
    """regularised: the oldest dies (Real et al., 2019); differential: steps between members (Storn and Price, 1997)."""
    population: Population | None = None
    """Trials that are alive; absent: 20 (regularised), or as many as parameters, between 8 and 20 (differential)."""
    sample_size: Count = 10
    """regularised: of so many drawn members the best becomes the parent; more is greedier."""
    differential_weight: Annotated[Finite, Field(gt=0, le=2)] = 0.6
    """differential: length of a step relative to the distance between two members."""
    crossover_rate: Share = 0.8
    """differential: how many parameters take the step; the others are the parent's."""


class EvolutionSearch(_Search):
    """Evolution, for any space: good trials have children, each with a small change (Real et al., 2019)."""

    algorithm: Literal["evolution"]
    settings: EvolutionSettings = EvolutionSettings()


class FrugalSettings(Model):
    initial_step: Step = 0.15
    """Length of the first steps, relative to the parameters' ranges."""
    global_share: Share = 0.33
    """How many of the trials a TPE proposes within what has proved affordable (blended search); 0 is local search alone."""


class FrugalSearch(_Search):
    """Cost-frugal search: small steps from a cheap start, the parameters' defaults (CFO, BlendSearch: Wu et al., 2021)."""

    algorithm: Literal["frugal"]
    settings: FrugalSettings = FrugalSettings()


class AutoSettings(Model):
    closing_share: Share = 0.1
    """The last part of `maxTrials`, in which every other trial is a small step from the best ones."""


class AutoSearch(_Search):
    """Chooses and mixes samplers by the space, the budget, the parallelism and the results, and tells why."""

    algorithm: Literal["auto"]
    settings: AutoSettings = AutoSettings()


Search = Annotated[
    AutoSearch
    | GridSearch
    | RandomSearch
    | SobolSearch
    | TpeSearch
    | GpSearch
    | ForestSearch
    | CmaesSearch
    | EvolutionSearch
    | FrugalSearch,
    Field(discriminator="algorithm"),
]
SEARCHES: tuple[type[_Search], ...] = (
    AutoSearch,
    GridSearch,
    RandomSearch,
    SobolSearch,
    TpeSearch,
    GpSearch,
    ForestSearch,
    CmaesSearch,
    EvolutionSearch,
    FrugalSearch,
)


# --- schedulers: how much to spend on it ----------------------------------------------------------------------


class _Scheduler(Model):
    resource: Annotated[str, Field(min_length=1, max_length=63)] = "step"
    """What one step is called: epoch, tree, batch. Trials report their progress in it."""


class _BoundedScheduler(_Scheduler):
    min: Count = 1
    """The least a trial is given before it is judged."""
    max: Count
    """The most a trial is given; reaching it is success."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min >= self.max:
            raise FieldError(".max", f"min < max must hold, got min={self.min}, max={self.max}; raise max or lower min")
        return self


class NoScheduler(_Scheduler):
    """Every trial runs in full."""

    algorithm: Literal["none"]
    max: Count | None = None
    """How many steps a trial runs; absent: until its command ends."""
    settings: NoSettings = NoSettings()


class MedianSettings(Model):
    startup_trials: Count = 5
    """Trials that must have reached a step before anyone is stopped at it."""
    interval: Count = 1
    """Steps from one judgement to the next, from `min` on."""


class MedianScheduler(_BoundedScheduler):
    """Stops a trial whose best value so far is worse than the median of the others' running averages (Vizier, 2017)."""

    algorithm: Literal["median"]
    settings: MedianSettings = MedianSettings()


class _ReductionSettings(Model):
    reduction_factor: Annotated[StrictInt, Field(ge=2, le=100)] = 3
    """Of so many trials one goes on, with so many times the resource (eta)."""


class HalvingSettings(_ReductionSettings):
    bracket_size: Count | None = None
    """Trials that start together at the lowest rung; absent: as many as leave one at the top, at most `maxTrials`."""


class HalvingScheduler(_BoundedScheduler):
    """Successive halving: a full rung is ranked, and the best share goes on (Jamieson and Talwalkar, 2016)."""

    algorithm: Literal["halving"]
    settings: HalvingSettings = HalvingSettings()


class AshaSettings(_ReductionSettings):
    variant: Literal["promotion", "stopping"] = "promotion"
    """promotion: trials rest at a rung, and the best share goes on; stopping: they train on, and the worst is stopped."""
    finish_best: StrictBool = True
    """Train the leader in full when nothing else is left to do, so that the winner is never a half-trained one.

    Only of the promoting form: the stopping one trains its survivors in full anyway.
    """


class AshaScheduler(_BoundedScheduler):
    """Asynchronous successive halving: promotes whenever a rung's best share has a new member (Li et al., 2020)."""

    algorithm: Literal["asha"]
    settings: AshaSettings = AshaSettings()


class HyperbandSettings(_ReductionSettings):
    asynchronous: StrictBool = False
    """Promote whenever a rung of a bracket has a new member among its best, as ASHA does, without waiting for full rungs."""


class HyperbandScheduler(_BoundedScheduler):
    """Successive halving in brackets from many trials with little each to few in full (Li et al., 2018)."""

    algorithm: Literal["hyperband"]
    settings: HyperbandSettings = HyperbandSettings()


Factor = Annotated[Finite, Field(gt=0, le=100)]


class _PopulationSettings(Model):
    population_size: Annotated[StrictInt, Field(ge=2, le=1000)] = 8
    """Members that train side by side; a clone takes the place of the member that it replaces, and counts as a trial."""
    interval: Count | None = None
    """Steps after which a member is compared with the others, again and again; absent: a tenth of `max`."""
    quantile: Annotated[Finite, Field(gt=0, le=0.5)] = 0.25
    """The worst share, which is replaced by clones of the best share."""
    resample_probability: Share = 0.25
    """How often a parameter of a clone is drawn anew from its whole range (pb2: a choice, once a model sets the others)."""
    mutable: Annotated[list[Annotated[str, Field(max_length=63)]], Field(min_length=1, max_length=256)] | None = None
    """Parameters that a clone may change; absent: all. What shapes the weights (layers, width) must not be among them."""


class PopulationScheduler(_Scheduler):
    """What the schedulers that train a population have in common."""

    max: Count
    """The most a trial is given, what it inherits included; reaching it is success."""
    settings: _PopulationSettings

    @model_validator(mode="after")
    def _can_select(self) -> Self:
        settings = self.settings
        if self.max < 2:
            raise FieldError(".max", f"a population is compared on the way, got max={self.max}; raise it to 2 or more")
        if settings.interval is not None and settings.interval >= self.max:
            raise FieldError(
                ".settings.interval",
                f"interval < max must hold, got interval={settings.interval}, max={self.max}; lower interval or raise max",
            )
        if share_of(settings.population_size, settings.quantile) < 1:
            raise FieldError(
                ".settings.quantile",
                f"populationSize * quantile must be at least 1, got {settings.population_size} * {settings.quantile:g}, "
                "so that nobody would ever be replaced; raise either",
            )
        return self

    @property
    def interval(self) -> int:
        """Steps between two comparisons of a member."""
        return self.settings.interval or max(self.max // 10, 1)


class PbtSettings(_PopulationSettings):
    perturbation_factors: Annotated[list[Factor], Field(min_length=1, max_length=16)] = [0.8, 1.2]
    """One of them, drawn for each parameter, multiplies the value of the cloned member."""


class PbtScheduler(PopulationScheduler):
    """Population-based training: the worst members go on from the checkpoints of the best (Jaderberg et al., 2017)."""

    algorithm: Literal["pbt"]
    settings: PbtSettings = PbtSettings()


class Pb2Settings(_PopulationSettings):
    exploration: Annotated[Finite, Field(ge=0, le=100)] = 1.0
    """How much a clone's values are drawn to where little is known: a factor of the confidence bound's width."""


class Pb2Scheduler(PopulationScheduler):
    """Population-based training whose clones get the values that a time-varying bandit chooses (Parker-Holder, 2020)."""

    algorithm: Literal["pb2"]
    settings: Pb2Settings = Pb2Settings()


def share_of(count: int, share: float) -> int:
    """Return how many whole ones a share of `count` is, without binary noise: of 100 a share of 0.29 is 29."""
    return int(count * Decimal(repr(share)))


Scheduler = Annotated[
    NoScheduler | MedianScheduler | HalvingScheduler | AshaScheduler | HyperbandScheduler | PbtScheduler | Pb2Scheduler,
    Field(discriminator="algorithm"),
]
SCHEDULERS: tuple[type[_Scheduler], ...] = (
    NoScheduler,
    MedianScheduler,
    HalvingScheduler,
    AshaScheduler,
    HyperbandScheduler,
    PbtScheduler,
    Pb2Scheduler,
)


def algorithm_name(model: type[Model]) -> str:
    """Return the name by which a manifest asks for a search or scheduler model."""
    (name,) = model.model_fields["algorithm"].annotation.__args__  # type: ignore[union-attr]  # a Literal of one name
    return str(name)
