"""What a pod's status says about the run that it is. Pure; Kubernetes' JSON in.

A run is the life of the pod's training container. What happens to the pod around it (eviction, a deadline, a lost node,
deletion) matters as long as the container has not said how it ended, and where it was killed: whoever takes a pod away
leaves a mark on it first. SIGKILL without a mark comes from the kernel, for memory, as a rule, and would come again: the
kernel may kill one process among several, and Kubernetes then tells no OOMKilled, only a parent's exit code.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from podium_contract.conditions import Reason
from podium_contract.names import GROUP, LABEL_ATTEMPT, LABEL_TRIAL
from podium_contract.reports import last_words_in
from podium_contract.runtime import ExitCode
from podium_operator.core.facts import End, EndKind, Run, RunState

Json = dict[str, Any]

ANNOTATION_STOP = f"{GROUP}/stop-reason"
"""On a pod that was told to stop: why."""
ANNOTATION_FIRST_STEP = f"{GROUP}/first-step"
"""On every pod: the step its trial had reached before. From there its lines are counted when they tell no steps, by any
operator that reads the log, from its beginning, at any time."""
LOST_AFTER = timedelta(seconds=60)
"""A pod that is still there so long after it should have gone is on a node that does not answer."""

_IMAGE_FAULTS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_START_FAULTS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_DISRUPTIONS = frozenset(
    {"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "UnexpectedAdmissionError"}
)
_REFUSED_BY_NODE = re.compile(r"OutOf.+|NodeAffinity|TopologyAffinityError")
"""Why a kubelet turns away a pod that a scheduler has given it: the room, or the node, was another's by then."""
_LOST_CONTAINERS = frozenset({"ContainerStatusUnknown", "Unknown"})
"""How a container ended whose end nobody saw: its node had stopped."""
_QUANTITY = re.compile(r"(?P<number>[0-9]+)(?P<suffix>[kMGTPE]?)")
_SIGKILL_EXIT, _SIGTERM_EXIT = 137, 143
_FAULT_SIGNALS = {131: "SIGQUIT", 132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}


def run_of(pod: Json, container: str, now: datetime, *, is_gone: bool = False) -> Run:
    """Return the run that a pod is, by the state of its training container; `is_gone` is a pod's last sight."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    state = _state_of(status, container)
    stopping = (metadata.get("annotations") or {}).get(ANNOTATION_STOP)
    running, terminated = state.get("running"), state.get("terminated")
    begun = (running or terminated or {}).get("startedAt")
    # Also of a run that was stopped before it had started: what it waited for is why it failed.
    waiting_reason, waiting = (None, "") if begun else _what_it_waits_for(status, state)
    end = _end_of(pod, terminated, stopping, now, is_gone=is_gone, has_begun=begun is not None)
    return Run(
        number=number_of(pod),
        attempt=attempt_of(pod),
        state=RunState.ENDED if end else RunState.ACTIVE if running else RunState.WAITING,
        created=_time(metadata["creationTimestamp"]),
        started=_time(begun) if begun else None,
        end=end,
        stopping=Reason(stopping) if stopping else None,
        waiting_reason=waiting_reason,
        waiting=waiting,
        gpus=_gpus(pod["spec"], container),
    )


def number_of(pod: Json) -> int:
    return int(pod["metadata"]["labels"][LABEL_TRIAL])


def attempt_of(pod: Json) -> int:
    return int(pod["metadata"]["labels"][LABEL_ATTEMPT])


def first_step_of(pod: Json) -> int:
    """Return the step that a pod's trial had reached before the pod was made."""
    return int((pod["metadata"].get("annotations") or {}).get(ANNOTATION_FIRST_STEP, 0))


def is_terminal(pod: Json) -> bool:
    """Answer whether all of a pod has ended, sidecars too: it holds nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def waits_for_a_node(pod: Json) -> bool:
    """Answer whether no kubelet knows of a pod yet: none will end it either."""
    return (pod.get("status") or {}).get("phase", "Pending") == "Pending" and not pod["spec"].get("nodeName")


def termination_message_of(pod: Json, container: str) -> str:
    """Return what the training container left as its last word."""
    terminated = _state_of(pod.get("status") or {}, container).get("terminated") or {}
    return str(terminated.get("message") or "")


# --- how it ended ------------------------------------------------------------------------------------------------


def _end_of(
    pod: Json, terminated: Json | None, stopping: str | None, now: datetime, *, is_gone: bool, has_begun: bool
) -> End | None:
    metadata, status = pod["metadata"], pod.get("status") or {}
    if terminated is not None:
        return _end_of_container(pod, terminated, stopping, now)
    if is_gone:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its pod was deleted", now)
    if status.get("phase") == "Failed":
        return _end_of_pod(status, stopping, now)
    leaving = metadata.get("deletionTimestamp")
    if leaving and now - _time(leaving) >= LOST_AFTER:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its node does not answer", now)
    if stopping is not None and not has_begun and _cannot_begin(pod["spec"], status):
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "it was told to stop before it had started", now)
    return None


def _end_of_container(pod: Json, terminated: Json, stopping: str | None, now: datetime) -> End:
    status, code = pod.get("status") or {}, int(terminated.get("exitCode", 0))
    at = _time(terminated["finishedAt"]) if terminated.get("finishedAt") else now
    if code == ExitCode.DONE:
        return End(EndKind.DONE, Reason.FINISHED, "exit code 0", at)
    if code == ExitCode.CHECKPOINTED:
        return End(EndKind.CHECKPOINTED, Reason.DISRUPTED, "it was asked to stop from outside", at)
    if terminated.get("reason") == "OOMKilled":
        message = f"its container used more memory than there was for it{_last_words(terminated)}"
        return End(EndKind.FAILED, Reason.OUT_OF_MEMORY, message, at)
    if status.get("reason") == "DeadlineExceeded" and stopping is None:
        message = "its pod ran longer than the template's own activeDeadlineSeconds"
        return End(EndKind.FAILED, Reason.DEADLINE_EXCEEDED, message, at)
    if terminated.get("reason") in _LOST_CONTAINERS:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its container was lost with its node", at)
    taken_away = _why_taken_away(pod)
    if taken_away is not None:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"its pod was taken away: {taken_away}", at)
    if code == _SIGTERM_EXIT or (code == _SIGKILL_EXIT and stopping is not None):
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"killed by signal {code - 128} from outside", at)
    if code == _SIGKILL_EXIT:
        message = f"killed by signal 9, most likely for want of memory{_last_words(terminated)}"
        return End(EndKind.FAILED, Reason.CRASHED, message, at)
    if code in _FAULT_SIGNALS:
        message = f"killed by signal {code - 128} ({_FAULT_SIGNALS[code]}){_last_words(terminated)}"
        return End(EndKind.FAILED, Reason.CRASHED, message, at)
    if terminated.get("reason") in ("ContainerCannotRun", "StartError"):
        return End(EndKind.FAILED, Reason.START_FAILED, f"the command cannot be started: {_first_line(terminated)}", at)
    return End(EndKind.FAILED, Reason.EXIT_CODE, f"exit code {code}{_last_words(terminated)}", at)


def _end_of_pod(status: Json, stopping: str | None, now: datetime) -> End:
    """Return the end of a pod that failed without its training container having run."""
    words = f"{status.get('reason', '')} {status.get('message', '')}".strip()
    if stopping is not None or _mark_of_disruption(status) is not None:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"its pod was stopped: {words}", now)
    for entry in status.get("initContainerStatuses") or ():
        ended = (entry.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode", 0) != 0:
            words = f"its init container '{entry['name']}' ended with exit code {ended['exitCode']}{_last_words(ended)}"
            return End(EndKind.FAILED, Reason.START_FAILED, words, now)
    return End(EndKind.FAILED, Reason.START_FAILED, f"its pod failed: {words}", now)


def _cannot_begin(spec: Json, status: Json) -> bool:
    """Answer whether no kubelet will start or end it: it has no node, or an image or a setting that cannot be had."""
    return not spec.get("nodeName") or any(fault for _, fault, _ in _faults(status))


def _why_taken_away(pod: Json) -> str | None:
    """Return what took a pod away; None when nothing did."""
    mark = _mark_of_disruption(pod.get("status") or {})
    return "deleted" if mark is None and pod["metadata"].get("deletionTimestamp") else mark


def _mark_of_disruption(status: Json) -> str | None:
    for condition in _conditions(status):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("reason", "disruption"))
    reason = str(status.get("reason") or "")
    return reason if reason in _DISRUPTIONS or _REFUSED_BY_NODE.fullmatch(reason) else None


# --- what it waits for -------------------------------------------------------------------------------------------


def _what_it_waits_for(status: Json, state: Json) -> tuple[Reason | None, str]:
    for name, reason, message in _faults(status):
        if reason in _IMAGE_FAULTS:
            return Reason.IMAGE_UNAVAILABLE, f"the image of '{name}' cannot be pulled: {message}"
        return Reason.START_FAILED, f"container '{name}' cannot be created: {message}"
    for condition in _conditions(status):
        # Other reasons are no faults: a queue that holds the pod back (SchedulingGated), say.
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Reason.UNSCHEDULABLE, f"no node takes its pod: {condition.get('message', '')}"
    return None, str((state.get("waiting") or {}).get("reason", ""))


def _faults(status: Json) -> Iterator[tuple[str, str, str]]:
    """Yield (container, reason, message) of each container that waits for what it will not get."""
    for entry in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        if reason in _IMAGE_FAULTS or reason in _START_FAULTS:
            yield str(entry.get("name", "")), reason, str(waiting.get("message") or reason)


# --- parts -------------------------------------------------------------------------------------------------------


def _state_of(status: Json, container: str) -> Json:
    for entry in status.get("containerStatuses") or ():
        if entry.get("name") == container:
            return dict(entry.get("state") or {})
    return {}


def _conditions(status: Json) -> list[Json]:
    return list(status.get("conditions") or ())


def _last_words(terminated: Mapping[str, Any]) -> str:
    words = last_words_in(str(terminated.get("message") or ""))[:300]
    return f": {words}" if words else ""


def _first_line(terminated: Mapping[str, Any]) -> str:
    lines = [line.strip() for line in str(terminated.get("message") or "").splitlines() if line.strip()]
    return lines[0][:300] if lines else str(terminated.get("reason", ""))


def _gpus(spec: Json, container: str) -> int:
    for entry in spec.get("containers") or ():
        if entry.get("name") == container:
            limits = (entry.get("resources") or {}).get("limits") or {}
            return sum(_whole_quantity(amount) for name, amount in limits.items() if name.endswith("/gpu"))
    return 0


def _whole_quantity(text: object) -> int:
    """Return a count as the API server writes it, which makes 4000 into 4k; 0 for what is none."""
    match = _QUANTITY.fullmatch(str(text))
    return int(match["number"]) * 1000 ** " kMGTPE".index(match["suffix"] or " ") if match else 0


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
