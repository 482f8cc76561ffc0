"""What a laptop cannot do of a pod template: said before anything runs, as a refusal or as a note."""

from collections.abc import Iterator, Mapping

from podium_contract.experiment import ExperimentSpec, PrometheusMetrics, TrialSpecTemplate
from podium_contract.manifest import Fault, ManifestError
from podium_contract.template import container_index, trial_container

_DEFAULT_GRACE_SECONDS = 30.0
"""What Kubernetes gives a pod."""
_LEFT_OUT_OF_POD = ("initContainers", "volumes")
_LEFT_OUT_OF_CONTAINER = ("workingDir", "lifecycle")


def refuse_what_cannot_be_done(spec: ExperimentSpec, environment: Mapping[str, str]) -> None:
    """Raise ManifestError when the trial's command, a value of its environment, or its port exists on a cluster only."""
    faults = [*_faults(spec.trial, environment), *_shared_port(spec)]
    if faults:
        raise ManifestError(faults)


def notices_of(trial: TrialSpecTemplate) -> tuple[str, ...]:
    """Return a sentence for each part of the template that a laptop leaves out."""
    pod, container = trial.template["spec"], trial_container(trial.template, trial.container)
    parts = [part for part in _LEFT_OUT_OF_POD if pod.get(part)]
    parts += [part for part in _LEFT_OUT_OF_CONTAINER if container.get(part)]
    notices = [f"{part}: left out on a laptop, where a trial is a process of this machine" for part in parts]
    others = [str(other.get("name")) for other in pod["containers"] if other.get("name") != container.get("name")]
    if others:
        notices.append(f"containers: only the one that trains runs on a laptop, {', '.join(others)} left out")
    return tuple(notices)


def grace_seconds(trial: TrialSpecTemplate) -> float:
    """Return the time between SIGTERM and SIGKILL, which a template may set to 0."""
    seconds = trial.template["spec"].get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE_SECONDS if seconds is None else float(seconds)


def _shared_port(spec: ExperimentSpec) -> Iterator[Fault]:
    """Yield a fault where several trials at a time would be read from one port: each pod has an address of its own."""
    metrics = spec.trial.metrics
    if isinstance(metrics, PrometheusMetrics) and spec.parallelism > 1:
        message = (
            f"on a laptop all trials share trial.metrics.port, so one trains at a time, got {spec.parallelism}; "
            "set it to 1, or read the log"
        )
        yield Fault("spec.parallelism", message)


def _faults(trial: TrialSpecTemplate, environment: Mapping[str, str]) -> Iterator[Fault]:
    container = trial_container(trial.template, trial.container)
    path = f"spec.trial.template.spec.containers[{container_index(trial.template, trial.container)}]"
    if not container.get("command"):
        yield Fault(f"{path}.command", "a laptop has no image to take a command from, got none; write command")
    if container.get("envFrom"):
        yield Fault(f"{path}.envFrom", "a laptop has no ConfigMaps and Secrets, got envFrom; list the variables in env")
    for index, variable in enumerate(container.get("env") or ()):
        if "valueFrom" in variable and variable["name"] not in environment:
            message = (
                f"a laptop cannot look up valueFrom, got {variable['name']}; export {variable['name']} in your shell"
            )
            yield Fault(f"{path}.env[{index}].valueFrom", message)
    seconds = trial.template["spec"].get("terminationGracePeriodSeconds")
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int) or seconds < 0):
        message = f"is a whole number of seconds, 0 or more, got {seconds!r}; correct it"
        yield Fault("spec.trial.template.spec.terminationGracePeriodSeconds", message)
