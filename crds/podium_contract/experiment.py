"""The Experiment as a user writes it, and the status Podium reports on it."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from podium_contract.algorithms import AutoSearch, CmaesSearch, NoScheduler, PopulationScheduler, Scheduler, Search
from podium_contract.conditions import Condition
from podium_contract.model import MAX_COUNT, Count, FieldError, Finite, Model, Number, OpenModel, refuse
from podium_contract.names import API_VERSION, DNS_LABEL, experiment_key
from podium_contract.parameters import (
    Assignment,
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    Range,
    in_dependency_order,
    same_value,
    why_no_point,
)
from podium_contract.template import check_template, container_index, placeholders_of, trial_container

METRIC_NAME = r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$"
MetricName = Annotated[str, Field(pattern=METRIC_NAME)]
_SERIES = re.compile(
    r"""\s*[A-Za-z_:][A-Za-z0-9_:]*
    (\{\s*([A-Za-z_][A-Za-z0-9_]*\s*=\s*"([^"\\\n]|\\[\\"n])*"\s*(,\s*|(?=\})))*\})?\s*""",
    re.VERBOSE,
)
"""A Prometheus series by name, with labels where needed."""


class Objective(Model):
    """One metric to make as large or as small as possible."""

    metric: MetricName
    """A metric that trials report, by name: letters, digits and `_.:/-`."""
    goal: Literal["maximize", "minimize"]
    """Whether more or less of it is better."""
    target: Finite | None = None
    """Good enough: reaching it completes the experiment (with several objectives, when one trial reaches every target)."""
    reference: Finite | None = None
    """Of several objectives, the worst value worth having: hypervolumes are measured from it; absent: estimated."""

    @model_validator(mode="after")
    def _hopes_for_more_than_the_worst(self) -> Self:
        if self.target is None or self.reference is None:
            return self
        if self.loss(self.target) >= self.loss(self.reference):
            raise FieldError(
                ".reference",
                f"the target must be better than the reference, got target={self.target:g} and "
                f"reference={self.reference:g} to {self.goal}; the reference is the worst value worth having",
            )
        return self

    def loss(self, value: float) -> float:
        """Return a value of the metric as a loss: lower is better."""
        return value if self.goal == "minimize" else -value

    def is_reached_by(self, value: float) -> bool:
        """Answer whether `value` is at least as good as the target; False without one, and for NaN."""
        if self.target is None:
            return False
        return value >= self.target if self.goal == "maximize" else value <= self.target


class Constraint(Model):
    """A bound that a metric of a usable result keeps."""

    metric: MetricName
    """A metric that trials report, by name."""
    min: Finite | None = None
    """The least it may be; absent: no bound below."""
    max: Finite | None = None
    """The most it may be; absent: no bound above."""

    @model_validator(mode="after")
    def _has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a constraint needs min, max or both, got neither; add a bound")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise FieldError(".max", f"min <= max must hold, got min={self.min:g}, max={self.max:g}; swap the bounds")
        return self

    def violation(self, value: float) -> float:
        """Return how far `value` is outside the bounds, 0 inside; infinite for NaN."""
        if value != value:  # noqa: PLR0124  (NaN)
            return float("inf")
        below = self.min - value if self.min is not None else 0.0
        above = value - self.max if self.max is not None else 0.0
        return max(below, above, 0.0)


class _Metrics(Model):
    scrape_interval_seconds: Annotated[Finite, Field(gt=0, le=3600)] | None = None
    """How often a running trial is asked for its metrics; absent: 5 on a cluster, 0.3 on a laptop."""
    grace_period_seconds: Annotated[Finite, Field(ge=0, le=3600)] = 10.0
    """How long after its end a trial's metrics may still arrive before it fails with MetricsUnavailable."""


class SdkMetrics(_Metrics):
    """The trial reports through `podium_trial`."""

    source: Literal["sdk"]
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = 9464
    """Where the SDK serves its reports in the pod (a laptop picks a free port instead)."""


class PrometheusMetrics(_Metrics):
    """The trial serves its own Prometheus series; each scrape is one report."""

    source: Literal["prometheus"]
    port: Annotated[StrictInt, Field(ge=1, le=65535)]
    """Where the trial serves its series; it must listen on all addresses of the pod."""
    path: Annotated[str, Field(pattern=r"^/")] = "/metrics"
    """The path at which they are found."""
    series: Annotated[dict[MetricName, str], Field(min_length=1)]
    """Name of the series by metric, with labels where needed: `loss: train_loss{split="val"}`."""
    step: str | None = None
    """Name of the series that counts the steps; absent: scrapes are counted."""

    @model_validator(mode="after")
    def _names_series(self) -> Self:
        series = {f".series.{metric}": text for metric, text in self.series.items()}
        if self.step is not None:
            series[".step"] = self.step
        refuse(
            FieldError(
                place,
                f"a series is a name, optionally with labels to equal, got {json.dumps(text)}; "
                'write it as name{label="value"}',
            )
            for place, text in series.items()
            if not _SERIES.fullmatch(text)
        )
        return self


class LogMetrics(_Metrics):
    """The trial prints its metrics; lines of its log are read."""

    source: Literal["log"]
    format: Literal["json", "pattern"] = "json"
    """json: each line that is a JSON object is one report; pattern: lines that match `pattern` are."""
    pattern: str | None = None
    """Regular expression with groups `metric` and `value`, and optionally `step`: `\\b(?P<metric>\\w+)=(?P<value>\\S+)`.

    It is looked for in lines of at most 2048 characters."""
    step: MetricName = "step"
    """Name under which a line (or the last line before it) gives the step; lines without one are counted."""

    @model_validator(mode="after")
    def _pattern_fits(self) -> Self:
        if (self.format == "pattern") != (self.pattern is not None):
            raise FieldError(
                ".pattern" if self.format == "json" else "",
                f"pattern goes with format: pattern, got format={self.format}, pattern={json.dumps(self.pattern)}; "
                "give both or neither",
            )
        if self.pattern is None:
            return self
        try:
            groups = set(re.compile(self.pattern).groupindex)
        except re.error as fault:
            raise FieldError(
                ".pattern", f"must be a regular expression, got {json.dumps(self.pattern)} ({fault}); correct it"
            ) from None
        if not {"metric", "value"} <= groups:
            raise FieldError(
                ".pattern",
                f"needs the groups 'metric' and 'value', got {json.dumps(self.pattern)}; "
                "write (?P<metric>...) and (?P<value>...)",
            )
        return self


MetricsSource = Annotated[SdkMetrics | PrometheusMetrics | LogMetrics, Field(discriminator="source")]


class CheckpointClaim(Model):
    """A PersistentVolumeClaim: one that is made for the experiment (`storage`), or one that exists (`claimName`)."""

    storage: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")] | None = None
    """Make a claim of this size: 10Gi. It is deleted with the experiment."""
    storage_class_name: str | None = None
    """Of the claim that is made; absent: the cluster's default."""
    access_modes: list[Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]] | None = None
    """Of the claim that is made; absent: ReadWriteOnce."""
    claim_name: str | None = None
    """Use this claim, which stays when the experiment goes."""

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if (self.storage is None) == (self.claim_name is None):
            got = "neither" if self.storage is None else "both"
            raise ValueError(f"a claim has either storage or claimName, got {got}; give one")
        return self


class Checkpoints(Model):
    """Where checkpoints live on a cluster; a laptop keeps them in the results folder."""

    persistent_volume_claim: CheckpointClaim
    """The volume that outlives the pods: each trial has a folder on it."""


class TrialSpecTemplate(Model):
    """How one trial is run."""

    active_deadline_seconds: Count | None = None
    """The longest one run of a trial may take."""
    max_retries: Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)] = 3
    """How often a disrupted trial (evicted, pre-empted, lost node) resumes from its checkpoint before it fails."""
    metrics: MetricsSource = SdkMetrics(source="sdk")
    """Where a trial's metrics come from."""
    checkpoints: Checkpoints | None = None
    container: Annotated[str, Field(max_length=63)] | None = None
    """The container of the template that trains; absent: the first one."""
    template: dict[str, Any]
    """An ordinary PodTemplateSpec; `${name}` in command, args and env values stands for a parameter's value."""

    @field_validator("template")
    @classmethod
    def _is_a_pod_template(cls, template: dict[str, Any]) -> dict[str, Any]:
        check_template(template)
        return template

    @model_validator(mode="after")
    def _names_a_container(self) -> Self:
        try:
            container_index(self.template, self.container)
        except ValueError as fault:
            raise FieldError(".container", str(fault)) from None
        return self


class ExperimentSpec(Model):
    """What to tune, how to search, how much to spend, and how to run one trial."""

    objectives: Annotated[list[Objective], Field(min_length=1, max_length=8)]
    """What to optimise; with several, the result is a Pareto front."""
    constraints: Annotated[list[Constraint], Field(max_length=16)] = []
    """Bounds that a usable result keeps."""
    parameters: Annotated[list[Parameter], Field(min_length=1, max_length=256)]
    """What may be varied, and how."""
    search: Search = AutoSearch(algorithm="auto")
    """What to try."""
    scheduler: Scheduler = NoScheduler(algorithm="none")
    """How much to spend on each trial."""
    max_trials: Annotated[StrictInt, Field(ge=1, le=1_000_000)]
    """How many configurations are tried at most; never exceeded."""
    parallelism: Annotated[StrictInt, Field(ge=1, le=10_000)] = 1
    """How many trials train at a time."""
    max_failed_trials: Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)] | None = None
    """With more failed trials than this the experiment fails; absent: failures alone never end it."""
    active_deadline_seconds: Count | None = None
    """The longest the experiment may take, pauses included."""
    suspend: StrictBool = False
    """true checkpoints and frees everything; false resumes."""
    pod_history_limit: Annotated[StrictInt, Field(ge=0, le=1000)] = 10
    """How many ended pods are kept, latest first, so that their logs can be read."""
    ttl_seconds_after_finished: Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)] | None = None
    """How long after the experiment's end its Trials and pods are removed; absent: never. The Experiment stays, with its
    status, its checkpoints, and its record in the store."""
    trial: TrialSpecTemplate

    @field_validator("parameters")
    @classmethod
    def _parameters_fit_together(cls, parameters: list[Parameter]) -> list[Parameter]:
        refuse(_given_twice("name", [parameter.name for parameter in parameters]))
        by_name = {parameter.name: parameter for parameter in in_dependency_order(parameters)}
        refuse(
            fault
            for index, parameter in enumerate(parameters)
            for parent, condition in parameter.when.items()
            for fault in _condition_faults(f"[{index}].when.{parent}", by_name[parent], condition)
        )
        return parameters

    @field_validator("objectives")
    @classmethod
    def _objectives_are_distinct(cls, objectives: list[Objective]) -> list[Objective]:
        refuse(_given_twice("metric", [objective.metric for objective in objectives]))
        return objectives

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        refuse(self._faults())
        return self

    def _faults(self) -> Iterator[FieldError]:
        """Yield everything that does not fit together."""
        yield from self._placeholder_faults()
        if len(self.objectives) > 1 and self.scheduler.algorithm != "none":
            yield FieldError(
                ".scheduler.algorithm",
                f"a scheduler ranks trials by one objective, got {len(self.objectives)} with "
                f"{self.scheduler.algorithm}; remove the scheduler or turn objectives into constraints",
            )
        if len(self.objectives) == 1 and self.objectives[0].reference is not None:
            yield FieldError(
                ".objectives[0].reference",
                "a reference is what the front of several objectives is measured from, got one objective; remove it, "
                "or bound the metric by a constraint",
            )
        if isinstance(self.search, CmaesSearch):
            yield from _order_faults(self.parameters)
        yield from _point_faults(self.search.points, self.parameters, self.max_trials)
        if isinstance(self.scheduler, PopulationScheduler):
            yield from self._population_faults(self.scheduler)
        if isinstance(self.trial.metrics, PrometheusMetrics):
            missing = [metric for metric in self.metric_names if metric not in self.trial.metrics.series]
            if missing:
                yield FieldError(
                    ".trial.metrics.series",
                    f"every metric of an objective or constraint needs a series, got none for '{missing[0]}'; add it",
                )

    def _placeholder_faults(self) -> Iterator[FieldError]:
        known, template = {parameter.name for parameter in self.parameters}, self.trial.template
        position = container_index(template, self.trial.container)
        for place, name in placeholders_of(trial_container(template, self.trial.container)):
            if name not in known:
                yield FieldError(
                    f".trial.template.spec.containers[{position}].{place}",
                    f"a placeholder names a parameter, got ${{{name}}}; known: {', '.join(sorted(known))} "
                    f"(write $${{{name}}} for the text itself)",
                )

    def _population_faults(self, scheduler: PopulationScheduler) -> Iterator[FieldError]:
        settings = scheduler.settings
        known = [parameter.name for parameter in self.parameters]
        for index, name in enumerate(settings.mutable or ()):
            if name not in known:
                yield FieldError(
                    f".scheduler.settings.mutable[{index}]",
                    f"a clone changes parameters of this experiment, got '{name}'; known: {', '.join(known)}",
                )
        if self.max_trials < settings.population_size:
            yield FieldError(
                ".maxTrials",
                f"maxTrials counts the members and their clones, got {self.max_trials} for a population of "
                f"{settings.population_size}; raise it well above populationSize",
            )
        if self.search.algorithm == "grid":
            yield FieldError(
                ".search.algorithm",
                "a population begins spread over the space, got grid, of which it would only ever see the first corner; "
                "use random or sobol",
            )
        if self.trial.checkpoints is None:
            yield FieldError(
                ".trial.checkpoints",
                f"clones go on from the files of others, got {self.scheduler.algorithm} without checkpoints; "
                "add checkpoints: {persistentVolumeClaim: {storage: 1Gi}} (a laptop uses its results folder)",
            )

    @property
    def metric_names(self) -> list[str]:
        """The metrics that matter: of the objectives, then of the constraints, each once."""
        metrics = [objective.metric for objective in self.objectives]
        return list(dict.fromkeys(metrics + [constraint.metric for constraint in self.constraints]))


MUTABLE_FIELDS = frozenset(
    {
        "max_trials",
        "parallelism",
        "max_failed_trials",
        "active_deadline_seconds",
        "suspend",
        "pod_history_limit",
        "ttl_seconds_after_finished",
    }
)
"""What may change while an experiment lives; every other field of the spec decides what earlier trials mean."""


def immutable_change(old: ExperimentSpec, new: ExperimentSpec) -> str | None:
    """Return the path of the first immutable field in which the specs differ, or None."""
    for name, field in ExperimentSpec.model_fields.items():
        if name not in MUTABLE_FIELDS and getattr(old, name) != getattr(new, name):
            return f"spec.{field.alias or name}"
    return None


# --- status ---------------------------------------------------------------------------------------------------


class TrialCounts(OpenModel):
    """Trials by phase."""

    total: int = 0
    pending: int = 0
    running: int = 0
    paused: int = 0
    succeeded: int = 0
    pruned: int = 0
    failed: int = 0
    killed: int = 0


class Standing(OpenModel):
    """A trial on the podium, or on the Pareto front."""

    trial: int
    """The trial's number."""
    parameters: dict[str, JsonValue] = {}
    metrics: dict[str, Number] = {}
    """Its values of the objectives' and constraints' metrics."""
    step: int | None = None
    """The step at which it had them."""
    feasible: bool = True
    """Whether it keeps every constraint."""


class RungStatus(OpenModel):
    """How full one rung of the scheduler's ladder is."""

    budget: int
    """Steps a trial has trained when it reaches the rung."""
    bracket: int = 0
    running: int = 0
    """Trials on their way to it."""
    reached: int = 0
    """Trials that reached it, whatever became of them since."""
    promoted: int = 0
    """Of those, how many went on."""


class Cost(OpenModel):
    """What the experiment has used so far."""

    steps: int = 0
    """Steps trained by all trials."""
    full_steps: int | None = None
    """Steps that training every trial in full would have taken; absent without a scheduler's maximum."""
    trial_seconds: float = 0.0
    """Wall-clock seconds of all runs."""
    gpu_seconds: float = 0.0
    """Those seconds, times the GPUs that each run asked for."""


class RemovedTrials(OpenModel):
    """What is left of Trials that were removed `ttlSecondsAfterFinished` after the experiment's end: their sums."""

    up_to: int
    """Trials with numbers up to this are gone; no later one takes such a number."""
    trials: TrialCounts
    trial_seconds: float
    gpu_seconds: float


class ExperimentStatus(OpenModel):
    """What Podium reports: bounded, however many trials there are."""

    phase: str = ""
    """The condition that holds, in a word: Progressing, Suspended, Complete or Failed."""
    conditions: tuple[Condition, ...] = ()
    """What holds and what does not, as Kubernetes has it: each with a reason and a message."""
    trials: TrialCounts = TrialCounts()
    best: tuple[Standing, ...] = ()
    """The best trials, best first (one objective: three), or the Pareto front (at most twenty)."""
    best_value: Number | None = None
    """The first objective's value of the best trial."""
    rungs: tuple[RungStatus, ...] = ()
    cost: Cost = Cost()
    removed: RemovedTrials | None = None
    """Trials that are counted above and whose objects are gone; absent: none."""
    observed_generation: int | None = None
    """The spec's generation that all of this tells of."""
    start_time: datetime | None = None
    """When the first pass over the experiment was made."""
    completion_time: datetime | None = None
    """When it ended; absent: it goes on."""


class Metadata(OpenModel):
    """The part of Kubernetes' object metadata that Podium reads; the rest is left alone."""

    name: Annotated[str, Field(pattern=DNS_LABEL, max_length=50)]
    """Unique in its namespace; trials and pods are named after it."""
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None

    @property
    def key(self) -> str:
        """What identifies an Experiment for good."""
        return experiment_key(self.namespace, self.name, self.uid)


class Experiment(Model):
    """A tuning experiment: declare it, and its trials are made, run, judged and stopped."""

    api_version: Literal["podium.dev/v1alpha1"] = API_VERSION
    kind: Literal["Experiment"] = "Experiment"
    metadata: Metadata
    spec: ExperimentSpec
    status: ExperimentStatus = ExperimentStatus()


def _given_twice(field: str, names: list[str]) -> Iterator[FieldError]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield FieldError(f"[{index}].{field}", f"must be given once only, got '{name}' again; rename or remove it")


def _condition_faults(path: str, parent: Parameter, condition: Range | list[JsonValue]) -> Iterator[FieldError]:
    if isinstance(condition, Range):
        if not isinstance(parent, FloatParameter | IntParameter):
            yield FieldError(
                path, f"a range condition needs a float or int parent, got {parent.type}; list the values instead"
            )
        elif not _can_hold(condition, parent):
            yield FieldError(
                path,
                f"a range condition meets its parent's range ({parent.min:g} to {parent.max:g}), "
                f"got {json.dumps(condition.to_json())}; choose bounds that it can reach",
            )
        return
    for index, value in enumerate(condition):
        if not parent.contains(value):
            yield FieldError(
                f"{path}[{index}]",
                f"a condition lists values of its parent, got {json.dumps(value)}; choose values that it can take",
            )


def _order_faults(parameters: list[Parameter]) -> Iterator[FieldError]:
    for parameter in parameters:
        fault = (
            "categorical" if isinstance(parameter, CategoricalParameter) else "conditional" if parameter.when else None
        )
        if fault is not None:
            yield FieldError(
                ".search.algorithm",
                f"cmaes searches float, int and ordinal parameters that are always active, got {fault} "
                f"'{parameter.name}'; choose auto, evolution or forest",
            )
            return


def _point_faults(points: list[Assignment], parameters: list[Parameter], max_trials: int) -> Iterator[FieldError]:
    if len(points) > max_trials:
        yield FieldError(
            ".search.points",
            f"each point is a trial, got {len(points)} points for maxTrials={max_trials}; raise maxTrials or remove some",
        )
    for index, point in enumerate(points):
        fault = why_no_point(parameters, point)
        if fault is not None:
            name, message = fault
            yield FieldError(f".search.points[{index}].{name}", message)
            continue
        earlier = next((other for other in range(index) if _is_same_point(point, points[other])), None)
        if earlier is not None:
            yield FieldError(
                f".search.points[{index}]",
                f"each point is tried once, got that of points[{earlier}] again; remove it",
            )


def _is_same_point(left: Assignment, right: Assignment) -> bool:
    return left.keys() == right.keys() and all(same_value(left[name], right[name]) for name in left)


def _can_hold(condition: Range, parent: FloatParameter | IntParameter) -> bool:
    low = parent.min if condition.min is None else condition.min
    high = parent.max if condition.max is None else condition.max
    return low <= parent.max and high >= parent.min
