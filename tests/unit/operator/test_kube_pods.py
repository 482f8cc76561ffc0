"""A run as a pod: what is created, and what is added to the user's template."""

import json
from typing import Any

import pytest

from builders.experiments import a_float, a_trial, an_experiment
from podium_contract import runtime
from podium_contract.experiment import Experiment
from podium_contract.template import expand
from podium_contract.trial import Parent, Trial
from podium_contract.wire import Assignment
from podium_operator.core.reconcile import _trial_of
from podium_operator.kube.pods import claim_of, is_owned_by, pod_of, trial_body_of

RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def with_uid(uid: str, **spec: Any) -> Experiment:
    experiment = an_experiment(**spec)
    return experiment.model_copy(update={"metadata": experiment.metadata.model_copy(update={"uid": uid})})


def a_trial_of(experiment: Experiment, **assignment: Any) -> Trial:
    wanted = {"number": 7, "parameters": {"lr": 0.1}, "target": 3, **assignment}
    trial = _trial_of(experiment.metadata, Assignment(**wanted))
    return trial.model_copy(update={"metadata": trial.metadata.model_copy(update={"uid": "trial-uid"})})


def test_pod_keeps_the_template_and_adds_what_is_documented() -> None:
    template: dict[str, Any] = {
        "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}, "annotations": {"note": "mine"}},
        "spec": {
            "nodeSelector": {"gpu": "h100"},
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "train", "image": "x", "command": ["run", "--lr=${lr}"], "env": [{"name": "A", "value": "b"}]},
                {"name": "sidecar", "image": "y"},
            ],
        },
    }
    experiment = an_experiment(trial={"template": template})
    pod = pod_of(experiment, a_trial_of(experiment), 2)
    spec, (train, sidecar) = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["name"] == "demo-00007-2"
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert pod["metadata"]["annotations"] == {"note": "mine", "podium.dev/first-step": "0"}
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "trial-uid"
    assert (spec["nodeSelector"], spec["restartPolicy"]) == ({"gpu": "h100"}, "Never")
    assert train["command"] == ["run", "--lr=0.1"]
    assert sidecar == {"name": "sidecar", "image": "y", "securityContext": RESTRICTED}
    variables = {variable["name"]: variable["value"] for variable in train["env"]}
    assert variables["A"] == "b"
    assert variables[runtime.ENV_TARGET] == "3"
    assert variables[runtime.ENV_PARAMETERS] == '{"lr": 0.1}'
    assert template["spec"]["containers"][0]["command"] == ["run", "--lr=${lr}"], "the manifest itself is untouched"


def test_a_float_that_the_api_server_has_stored_as_a_whole_number_arrives_as_a_float() -> None:
    template = {"spec": {"containers": [{"name": "train", "command": ["run", "--lr=${lr}"]}]}}
    experiment = an_experiment(parameters=[a_float(name="lr", min=0.1, max=2.0)], trial={"template": template})
    (train,) = pod_of(experiment, a_trial_of(experiment, parameters={"lr": 1}), 1)["spec"]["containers"]
    assert train["command"] == ["run", "--lr=1.0"]
    assert {"name": runtime.ENV_PARAMETERS, "value": '{"lr": 1.0}'} in train["env"]


def test_the_sdk_is_told_where_the_template_wants_its_last_words() -> None:
    container = {"name": "train", "command": ["run"], "terminationMessagePath": "/tmp/words"}
    experiment = an_experiment(trial={"template": {"spec": {"containers": [container]}}})
    (train,) = pod_of(experiment, a_trial_of(experiment), 1)["spec"]["containers"]
    assert {"name": runtime.ENV_TERMINATION_LOG, "value": "/tmp/words"} in train["env"]


def test_pod_satisfies_the_restricted_standard_without_a_token() -> None:
    experiment = an_experiment()
    spec = pod_of(experiment, a_trial_of(experiment), 1)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["containers"][0]["securityContext"] == RESTRICTED


def test_users_own_security_context_wins() -> None:
    template = {"spec": {"securityContext": {"runAsNonRoot": False}, "containers": [{"name": "t", "command": ["x"]}]}}
    experiment = an_experiment(trial={"template": template})
    assert pod_of(experiment, a_trial_of(experiment), 1)["spec"]["securityContext"]["runAsNonRoot"] is False


def test_checkpoints_have_a_folder_per_trial_on_the_claim() -> None:
    experiment = an_experiment(trial=a_trial(checkpoints={"persistentVolumeClaim": {"storage": "1Gi"}}))
    claim = claim_of(experiment)
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    pod = pod_of(experiment, a_trial_of(experiment, parent=Parent(trial=3, step=9)), 1)
    assert pod["spec"]["volumes"][-1]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (step,) = [v["value"] for v in pod["spec"]["containers"][0]["env"] if v["name"] == "PODIUM_PARENT_STEP"]
    assert step == "9", "its parent may have gone on since"
    own, parent = pod["spec"]["containers"][0]["volumeMounts"]
    assert (own["subPath"], parent["subPath"], parent["readOnly"]) == ("trials/00007", "trials/00003", True)


def test_claim_of_ones_own_is_used_and_none_is_made() -> None:
    experiment = with_uid("u1", trial=a_trial(checkpoints={"persistentVolumeClaim": {"claimName": "mine"}}))
    assert claim_of(experiment) is None
    pod = pod_of(experiment, a_trial_of(experiment), 1)
    assert pod["spec"]["volumes"][-1]["persistentVolumeClaim"]["claimName"] == "mine"
    (mount,) = pod["spec"]["containers"][0]["volumeMounts"]
    assert mount["subPath"] == "demo-u1/trials/00007", "an experiment made anew under the name finds no old checkpoints"


def test_everything_made_says_which_experiment_it_belongs_to() -> None:
    experiment = with_uid("u1", trial=a_trial(checkpoints={"persistentVolumeClaim": {"storage": "1Gi"}}))
    trial = a_trial_of(experiment)
    made = [trial_body_of(experiment, trial), pod_of(experiment, trial, 1), claim_of(experiment)]
    for body in made:
        assert body is not None
        assert body["metadata"]["labels"]["podium.dev/experiment-uid"] == "u1"
    assert [is_owned_by(body, "u1") for body in made if body] == [True, False, True]
    assert is_owned_by(made[1] or {}, "trial-uid")


def test_new_trial_has_no_status() -> None:
    experiment = with_uid("u1")
    assert "status" not in trial_body_of(experiment, a_trial_of(experiment))


def test_template_may_leave_out_or_empty_whatever_kubernetes_lets_it() -> None:
    container = {"name": "t", "command": ["x"], "env": None, "ports": None, "volumeMounts": None}
    template = {"metadata": None, "spec": {"containers": [container], "volumes": None, "securityContext": None}}
    experiment = an_experiment(trial={"template": template})
    assert len(pod_of(experiment, a_trial_of(experiment), 1)["spec"]["volumes"]) == 1


@pytest.mark.parametrize("value", ["$(PODIUM_TRIAL)", "$$(PODIUM_TRIAL)", "$$", "${lr}", "$", ["$(PODIUM_TRIAL)"]])
def test_value_of_a_parameter_arrives_as_it_is_and_the_templates_own_references_work(value: Any) -> None:
    """The kubelet reads the words once more: what it makes of them is what the training gets."""
    env = [{"name": "LR", "value": "${lr}"}, {"name": "OWN", "value": "$(LR)"}]
    template = {"spec": {"containers": [{"name": "t", "command": ["x", "${lr}", "$(A)", "$$"], "env": env}]}}
    experiment = an_experiment(trial={"template": template})
    (container,) = pod_of(experiment, a_trial_of(experiment, parameters={"lr": value}), 1)["spec"]["containers"]
    given: dict[str, str] = {"A": "of the image"}
    for variable in container["env"]:
        given[variable["name"]] = expand(variable["value"], given)
    text = value if isinstance(value, str) else json.dumps(value)
    assert [expand(word, given) for word in container["command"]] == ["x", text, "of the image", "$"]
    assert (given["LR"], given["OWN"]) == (text, text)
    assert json.loads(given[runtime.ENV_PARAMETERS]) == {"lr": value}


def test_last_lines_of_the_log_say_why_a_training_failed_unless_the_template_says_otherwise() -> None:
    containers: list[dict[str, Any]] = [{"name": "t", "command": ["x"]}, {"name": "sidecar"}]
    experiment = an_experiment(trial={"template": {"spec": {"containers": containers}}})
    trains, sidecar = pod_of(experiment, a_trial_of(experiment), 1)["spec"]["containers"]
    assert trains["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert "terminationMessagePolicy" not in sidecar
    containers[0]["terminationMessagePolicy"] = "File"
    experiment = an_experiment(trial={"template": {"spec": {"containers": containers}}})
    (trains, _) = pod_of(experiment, a_trial_of(experiment), 1)["spec"]["containers"]
    assert trains["terminationMessagePolicy"] == "File"
