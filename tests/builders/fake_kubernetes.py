"""An API server and a kubelet in memory: objects with versions, watch events to be delivered in any order, pods that train.

It stands where the real client stands, so that the Kubernetes backend is tried as it is: its operator may die right before
or right after any write, and its watch may be late, doubled, reordered or broken.
"""

# ruff: noqa: ARG002  (the client's methods take a namespace; here is only one)

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, TypeVar

from builders.fake_backend import OperatorDied
from podium_contract import runtime
from podium_contract.experiment import Experiment
from podium_contract.names import LABEL_EXPERIMENT_UID
from podium_contract.observation import Observation
from podium_contract.parameters import Assignment
from podium_contract.reports import termination_message
from podium_operator.kube.api import KubernetesApi, KubernetesError
from podium_operator.kube.backend import KubeBackend
from podium_operator.kube.pods import is_owned_by

Json = dict[str, Any]
Objective = Callable[[Assignment, int], dict[str, float]]
Delivery = Literal["in order", "doubled", "reversed", "late", "dropped"]

Done = TypeVar("Done")

_CONFLICT = 409


class FakeKubernetes(KubernetesApi):
    """One namespace with one Experiment."""

    def __init__(self, experiment: Experiment, objective: Objective) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.objective = objective
        self.objects: dict[tuple[str, str], Json] = {}
        self.writes: list[str] = []
        self.die: tuple[int, Literal["before", "after"]] | None = None
        """The operator dies at this write."""
        self.deaths = 0
        self.refusal: KubernetesError | None = None
        """What a pod's creation is answered with."""
        self.refusal_of_claim: KubernetesError | None = None
        """What a claim's creation is answered with."""
        self.events: list[tuple[str, str, bool]] = []
        """What was told about objects: reason, message, whether it is a warning."""
        self.logs_break_off = 0
        """So many whole logs break off after their first line."""
        self.trained: list[tuple[str, int]] = []
        """Every step of every trial, in order."""
        self._version = 0
        self._events: list[tuple[str, Json, bool]] = []
        self._held_back: list[tuple[str, Json, bool]] = []
        self._reports: dict[str, list[Observation]] = {}
        self._checkpoints: dict[str, int] = {}
        self._logs: dict[str, list[tuple[datetime, str]]] = {}
        self.put("experiments", experiment.to_json())

    # --- what the test does

    def put(self, plural: str, body: Json) -> Json:
        """Store an object, new or changed, and tell the watch."""
        self._version += 1
        metadata = body["metadata"]
        metadata.setdefault("uid", f"uid-{plural}-{metadata['name']}-{self._version}")
        metadata.setdefault("creationTimestamp", self.now.isoformat())
        metadata["resourceVersion"] = str(self._version)
        self.objects[plural, metadata["name"]] = deepcopy(body)
        self._events.append((plural, deepcopy(body), False))
        return deepcopy(body)

    def remove(self, plural: str, name: str) -> None:
        """Remove an object, and tell the watch."""
        body = self.objects.pop((plural, name))
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((plural, body, True))

    def all_of(self, plural: str) -> list[Json]:
        return [deepcopy(body) for (kind, _), body in sorted(self.objects.items()) if kind == plural]

    def edit(self, **spec: Any) -> None:
        """Change fields of the Experiment's spec, as a user does."""
        (body,) = self.all_of("experiments")
        body["spec"].update(spec)
        body["metadata"]["generation"] = body["metadata"].get("generation", 1) + 1
        self.put("experiments", body)

    def print_line(self, pod: str, text: str) -> None:
        """Let a pod's training print a line."""
        log = self._logs.setdefault(pod, [])
        log.append((self.now + timedelta(microseconds=len(log)), text))

    def deliver(self, backend: KubeBackend, delivery: Delivery) -> None:
        """Hand the watch's events on, more or less well."""
        events, self._events = self._events, []
        match delivery:
            case "doubled":
                events = [event for each in events for event in (each, each)]
            case "reversed":
                events.reverse()
            case "late":
                events, self._held_back = self._held_back, events
            case "dropped":
                events = []
        for plural, body, deleted in events:
            match plural:
                case "experiments":
                    backend.see_experiment(body, None)
                case "trials":
                    backend.see_trial(body, deleted=deleted)
                case "pods":
                    backend.see_pod(body, deleted=deleted)

    def tick(self) -> None:
        """A second passes: pods start, train a step, or end."""
        self.now += timedelta(seconds=1)
        for pod in self.all_of("pods"):
            phase = pod["status"].get("phase")
            if phase is None:
                self._put_pod(pod, "Running", {"running": {"startedAt": self.now.isoformat()}})
            elif phase == "Running":
                self._train(pod)

    # --- the API

    async def experiment(self, namespace: str, name: str) -> Json | None:
        return deepcopy(self.objects.get(("experiments", name)))

    async def trials_of(self, namespace: str, experiment_uid: str) -> list[Json]:
        return self._of(experiment_uid, "trials")

    async def pods_of(self, namespace: str, experiment_uid: str) -> list[Json]:
        return self._of(experiment_uid, "pods")

    async def create_trial(self, namespace: str, trial: Json) -> Json:
        return self._write(f"create {trial['metadata']['name']}", lambda: self._created("trials", trial))

    async def create_pod(self, namespace: str, pod: Json) -> Json:
        if self.refusal is not None:
            raise self.refusal
        return self._write(
            f"create pod {pod['metadata']['name']}", lambda: self._created("pods", {**pod, "status": {}})
        )

    async def create_claim(self, namespace: str, claim: Json) -> Json:
        if self.refusal_of_claim is not None:
            raise self.refusal_of_claim
        return self._write(
            f"create claim {claim['metadata']['name']}", lambda: self._created("persistentvolumeclaims", claim)
        )

    async def write_status(
        self, namespace: str, plural: str, name: str, status: Json, version: str | None = None
    ) -> Json | None:
        def merge() -> Json | None:
            body = self.objects.get((plural, name))
            if body is None:
                return None
            if version not in (None, body["metadata"]["resourceVersion"]):
                raise KubernetesError("the object has been modified", _CONFLICT)
            merged = {**body.get("status", {}), **status}
            kept = {key: value for key, value in merged.items() if value is not None}
            return self.put(plural, {**deepcopy(body), "status": kept})

        return self._write(f"status of {name}", merge)

    async def patch_pod(self, namespace: str, name: str, patch: Json) -> Json | None:
        def merge() -> Json | None:
            pod = self.objects.get(("pods", name))
            if pod is None:
                return None
            changed = deepcopy(pod)
            changed["metadata"].setdefault("annotations", {}).update(patch["metadata"]["annotations"])
            changed["spec"].update(patch["spec"])
            return self.put("pods", changed)

        return self._write(f"stop pod {name}", merge)

    async def delete_pod(self, namespace: str, name: str) -> None:
        def delete() -> None:
            if ("pods", name) in self.objects:
                self.remove("pods", name)

        self._write(f"delete pod {name}", delete)

    async def delete_trial(self, namespace: str, name: str, uid: str) -> None:
        def delete() -> None:
            trial = self.objects.get(("trials", name))
            if trial is None or trial["metadata"]["uid"] != uid:
                return
            self.remove("trials", name)
            for pod in self.all_of("pods"):  # garbage collection takes what it owned
                if is_owned_by(pod, uid):
                    self.remove("pods", pod["metadata"]["name"])

        self._write(f"delete {name}", delete)

    async def log_of(self, namespace: str, pod: str, container: str, since: str | None) -> str:
        first = datetime.min.replace(tzinfo=UTC) if since is None else datetime.fromisoformat(since)
        lines = [line for line in self._logs.get(pod, []) if line[0] >= first.replace(microsecond=0)]
        return "".join(f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z {text}\n" for moment, text in lines)

    async def read_log(self, namespace: str, pod: str, container: str, take: Callable[[str], object]) -> bool:
        for _, text in self._logs.get(pod, []):
            take(f"{text}\n")
            if self.logs_break_off > 0:
                self.logs_break_off -= 1
                return False
        return True

    async def emit(self, about: Json, reason: str, message: str, *, warning: bool) -> None:
        self.events.append((reason, message, warning))

    # --- parts

    def _write(self, description: str, deed: Callable[[], Done]) -> Done:
        number = len(self.writes)
        if self.die == (number, "before"):
            self._let_die()
        self.writes.append(description)
        done = deed()
        if self.die == (number, "after"):
            self._let_die()
        return done

    def _let_die(self) -> NoReturn:
        self.die = None
        self.deaths += 1
        raise OperatorDied

    def _created(self, plural: str, body: Json) -> Json:
        existing = self.objects.get((plural, body["metadata"]["name"]))
        return deepcopy(existing) if existing is not None else self.put(plural, deepcopy(body))

    def _of(self, experiment_uid: str, plural: str) -> list[Json]:
        return [
            body for body in self.all_of(plural) if body["metadata"]["labels"][LABEL_EXPERIMENT_UID] == experiment_uid
        ]

    def _train(self, pod: Json) -> None:
        name, variables = pod["metadata"]["name"], _variables(pod)
        trial, reports = variables[runtime.ENV_TRIAL], self._reports.setdefault(name, [])
        step = self._checkpoints.get(trial, 0)
        if pod["spec"].get("activeDeadlineSeconds"):
            self._end(pod, runtime.ExitCode.CHECKPOINTED)
        elif step >= int(variables[runtime.ENV_TARGET]):
            self._end(pod, runtime.ExitCode.DONE)
        else:
            parameters = self.objects["trials", trial]["spec"]["parameters"]
            self._checkpoints[trial] = step + 1
            self.trained.append((trial, step + 1))
            reports.append(
                Observation(
                    attempt=int(variables[runtime.ENV_ATTEMPT]),
                    step=step + 1,
                    sequence=len(reports),
                    metrics=self.objective(parameters, step + 1),
                )
            )

    def _end(self, pod: Json, code: runtime.ExitCode) -> None:
        began = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        terminated = {
            "exitCode": int(code),
            "startedAt": began,
            "finishedAt": self.now.isoformat(),
            "message": termination_message(self._reports.get(pod["metadata"]["name"], [])),
        }
        self._put_pod(pod, "Succeeded" if code == runtime.ExitCode.DONE else "Failed", {"terminated": terminated})

    def _put_pod(self, pod: Json, phase: str, state: Json) -> None:
        name = pod["spec"]["containers"][0]["name"]
        pod["status"] = {"phase": phase, "containerStatuses": [{"name": name, "state": state}]}
        self.put("pods", pod)


def _variables(pod: Json) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in pod["spec"]["containers"][0]["env"]}
