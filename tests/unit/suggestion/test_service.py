"""The service over HTTP, in this process: routes, tokens, errors, limits, metrics."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from builders.experiments import a_scheduler, a_search, an_experiment_spec
from builders.service_client import ServiceClient
from podium_contract.wire import Advice, AdviceRequest, TrialFacts
from podium_suggestion.service import TokenFile, create_app
from podium_suggestion.settings import Settings, SettingsError, settings_from
from podium_suggestion.store import Store, StoreError, open_store

TOKEN = "correct-horse"
SPEC = an_experiment_spec(search=a_search("random"), parallelism=2)
PATH = "/v1/experiments/default/demo/uid"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.fixture
def client(token_file: Path) -> ServiceClient:
    app = create_app(open_store(), TokenFile(token_file), max_request_bytes=100_000)
    return ServiceClient(app, {"authorization": f"Bearer {TOKEN}"})


def a_request(request_id: str = "r1", *, complete: bool = True, **more: Any) -> dict[str, Any]:
    request = AdviceRequest(
        experiment="default/demo/uid", request_id=request_id, spec=SPEC, slots=2, complete=complete, **more
    )
    return request.to_json()


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert list(body) == ["error"]
    assert "Traceback" not in response.text
    error: dict[str, Any] = body["error"]
    assert error["rule"]
    return error


# --- exchanges ------------------------------------------------------------------------------------------------


def test_an_exchange_gives_advice(client: ServiceClient) -> None:
    response = client.post("/v1/advise", json=a_request())
    assert response.status_code == 200
    advice = Advice.model_validate_json(response.content)
    assert [assignment.number for assignment in advice.assignments] == [1, 2]


def test_numbers_that_are_not_finite_survive_the_journey(client: ServiceClient) -> None:
    client.post("/v1/advise", json=a_request())
    reports = [{"attempt": 1, "step": 1, "metrics": {"loss": "NaN", "other": "-Infinity"}}]
    told = {"number": 1, "phase": "Running", "attempt": 1, "observations": reports}
    client.post("/v1/advise", json=a_request("r2") | {"facts": [told]})
    page = client.get(f"{PATH}/trials").json()
    assert page["trials"][0]["observations"][0]["metrics"] == {"loss": "NaN", "other": "-Infinity"}


def test_an_unknown_experiment_is_a_conflict_that_asks_for_complete_facts(client: ServiceClient) -> None:
    response = client.post("/v1/advise", json=a_request(complete=False))
    assert response.status_code == 409
    assert error_of(response)["code"] == "unknown-experiment"
    assert "complete" in error_of(response)["rule"]


def test_an_immutable_field_is_named(client: ServiceClient) -> None:
    client.post("/v1/advise", json=a_request())
    changed = a_request("r2")
    changed["spec"]["search"]["seed"] = 5
    response = client.post("/v1/advise", json=changed)
    assert response.status_code == 422
    assert error_of(response)["code"] == "immutable-field"
    assert error_of(response)["path"] == "spec.search"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("{", "JSON"),
        ("[]", "body"),
        ("{}", "experiment"),
        (json.dumps({"experiment": "a", "requestId": "r", "slots": -1, "spec": {}}), "spec"),
    ],
)
def test_a_malformed_request_says_what_is_wrong(client: ServiceClient, body: str, fault: str) -> None:
    response = client.post("/v1/advise", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert error_of(response)["code"] == "invalid-request"
    assert any(fault in line for line in error_of(response)["faults"])


# --- records --------------------------------------------------------------------------------------------------


def test_records_come_in_pages(client: ServiceClient) -> None:
    client.post("/v1/advise", json=a_request() | {"slots": 5})
    first = client.get(f"{PATH}/trials", params={"limit": 2}).json()
    assert [trial["number"] for trial in first["trials"]] == [1, 2]
    second = client.get(f"{PATH}/trials", params={"limit": 3, "after": first["next"]}).json()
    assert [trial["number"] for trial in second["trials"]] == [3, 4, 5]
    assert "next" not in second


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 100_000}, {"after": -1}, {"after": "x"}])
def test_pages_have_bounds(client: ServiceClient, query: dict[str, Any]) -> None:
    assert error_of(client.get(f"{PATH}/trials", params=query))["code"] == "invalid-request"


def test_a_forgotten_experiment_is_gone_and_forgetting_twice_is_forgetting_once(client: ServiceClient) -> None:
    client.post("/v1/advise", json=a_request())
    assert client.delete(PATH).status_code == 204
    assert client.delete(PATH).status_code == 204
    response = client.get(f"{PATH}/trials")
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown-experiment"


# --- tokens ---------------------------------------------------------------------------------------------------

CALLS = [("POST", "/v1/advise"), ("GET", f"{PATH}/trials"), ("DELETE", PATH)]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer ünï"])
def test_no_call_is_served_without_the_token(client: ServiceClient, method: str, path: str, header: str) -> None:
    response = client.request(method, path, headers={"authorization": header.encode()})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert error_of(response)["code"] == "unauthorized"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_what_probes_and_prometheus_need_is_open(client: ServiceClient, path: str) -> None:
    assert client.get(path, headers={"authorization": ""}).status_code == 200


def test_a_rotated_token_is_taken_up_without_a_restart(client: ServiceClient, token_file: Path) -> None:
    fresh = token_file.with_name("fresh")
    fresh.write_text("battery-staple")
    fresh.replace(token_file)
    assert client.get(f"{PATH}/trials").status_code == 401
    renewed = {"authorization": "Bearer battery-staple"}
    assert client.get(f"{PATH}/trials", headers=renewed).status_code == 404


def test_a_token_file_that_is_rewritten_with_a_token_as_long_is_noticed(token_file: Path) -> None:
    token = TokenFile(token_file)
    stat = token_file.stat()
    token_file.write_text("x" * len(TOKEN) + "\n")
    os.utime(token_file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert not token.admits(TOKEN)


def test_an_emptied_token_file_admits_nobody(client: ServiceClient, token_file: Path) -> None:
    token_file.write_text("\n")
    assert client.get(f"{PATH}/trials").status_code == 401
    assert client.get(f"{PATH}/trials", headers={"authorization": "Bearer "}).status_code == 401


@pytest.mark.parametrize("content", [None, "", "  \n"])
def test_a_service_does_not_start_without_a_token(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match="token"):
        TokenFile(path)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


# --- trouble --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_that_is_too_large_is_refused(client: ServiceClient, streamed: bool) -> None:
    body = b"x" * 200_000
    content: Any = in_pieces(body) if streamed else body
    response = client.post("/v1/advise", content=content)
    assert response.status_code == 413
    assert error_of(response)["code"] == "request-too-large"


def test_unknown_paths_and_methods_are_told_apart(client: ServiceClient) -> None:
    assert error_of(client.get("/nowhere"))["code"] == "not-found"
    assert error_of(client.get("/v1/advise"))["code"] == "method-not-allowed"


class BrokenStore(Store):
    """A store that has lost its database."""

    def __init__(self) -> None:
        super().__init__(open_store()._engine)

    def look_up(self, key: str, request_id: str = "") -> tuple[int | None, str | None]:  # noqa: ARG002  (refuses all)
        raise StoreError("the store cannot be read: connection refused")

    def check(self) -> None:
        raise StoreError("the store cannot be read: connection refused")


class DefectiveStore(Store):
    def __init__(self) -> None:
        super().__init__(open_store()._engine)

    def look_up(self, key: str, request_id: str = "") -> tuple[int | None, str | None]:  # noqa: ARG002  (refuses all)
        raise ZeroDivisionError("a secret of the implementation")


def test_a_store_out_of_reach_is_not_ready_and_asks_to_try_again() -> None:
    client = ServiceClient(create_app(BrokenStore()))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    response = client.post("/v1/advise", json=a_request())
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert error_of(response)["code"] == "store-unavailable"
    assert "podium_suggestion_store_errors_total 2.0" in client.get("/metrics").text


def test_a_defect_shows_nothing_of_itself() -> None:
    response = ServiceClient(create_app(DefectiveStore())).post("/v1/advise", json=a_request())
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal"
    assert "secret" not in response.text


# --- observability --------------------------------------------------------------------------------------------


def test_the_metrics_count_exchanges_and_decisions_once(client: ServiceClient) -> None:
    spec = an_experiment_spec(
        search=a_search("random"), scheduler=a_scheduler("asha", 1, 9), parallelism=3, max_trials=10
    )
    asked = {"experiment": "a/b/c", "spec": spec, "slots": 3}
    told = tuple(
        TrialFacts.model_validate(
            {
                "number": number,
                "phase": "Paused",
                "attempt": 1,
                "target": 1,
                "observations": [{"attempt": 1, "step": 1, "metrics": {"loss": number / 10}}],
            }
        )
        for number in (1, 2, 3)
    )
    for request in (
        AdviceRequest.model_validate({**asked, "request_id": "0", "complete": False}),
        AdviceRequest.model_validate({**asked, "request_id": "1", "complete": True}),
        AdviceRequest.model_validate({**asked, "request_id": "2", "facts": told}),
        AdviceRequest.model_validate({**asked, "request_id": "2", "facts": told}),
        AdviceRequest.model_validate({**asked, "request_id": "3"}),
    ):
        client.post("/v1/advise", json=request.to_json())
    page = client.get("/metrics").text
    assert 'podium_suggestion_advice_total{outcome="ok"} 4.0' in page
    assert 'podium_suggestion_advice_total{outcome="unknown"} 1.0' in page
    assert 'podium_suggestion_trials_total{verdict="start"} 5.0' in page
    assert 'podium_suggestion_trials_total{verdict="promote"} 1.0' in page
    assert 'podium_suggestion_advice_seconds_count{scheduler="asha",search="random"} 5.0' in page


def test_the_openapi_document_describes_calls_errors_and_the_token(client: ServiceClient) -> None:
    document = client.get("/openapi.json").json()
    advise = document["paths"]["/v1/advise"]["post"]
    assert {"200", "401", "409", "413", "422", "503"} <= set(advise["responses"])
    assert advise["security"] == [{"HTTPBearer": []}]
    assert "AdviceRequest" in document["components"]["schemas"]
    assert "requestId" in document["components"]["schemas"]["AdviceRequest"]["properties"]


# --- settings -------------------------------------------------------------------------------------------------


def test_settings_have_defaults() -> None:
    assert settings_from({}, insecure=True) == Settings()


def test_settings_come_from_the_environment() -> None:
    environment = {
        "PODIUM_STORE_URL": "postgresql://db/podium",
        "PODIUM_HOST": "0.0.0.0",
        "PODIUM_PORT": "9000",
        "PODIUM_TOKEN_FILE": "/run/token",
        "PODIUM_LOG_FORMAT": "json",
        "PODIUM_MAX_REQUEST_BYTES": "4096",
    }
    assert settings_from(environment) == Settings(
        "postgresql://db/podium", "0.0.0.0", 9000, Path("/run/token"), "json", 4096
    )


def test_a_port_that_kubernetes_sets_for_a_service_of_that_name_is_no_port_of_ours() -> None:
    assert settings_from({"PODIUM_PORT": "tcp://10.0.0.1:8080"}, insecure=True).port == 8080


@pytest.mark.parametrize(
    ("environment", "fault"),
    [
        ({}, "PODIUM_TOKEN_FILE must name"),
        (
            {"PODIUM_TOKEN_FILE": "t", "PODIUM_PORT": "http"},
            "PODIUM_PORT is a whole number from 0 to 65535, got 'http'",
        ),
        ({"PODIUM_TOKEN_FILE": "t", "PODIUM_PORT": "65536"}, "got '65536'"),
        ({"PODIUM_TOKEN_FILE": "t", "PODIUM_LOG_FORMAT": "xml"}, "PODIUM_LOG_FORMAT is text or json, got 'xml'"),
    ],
)
def test_impossible_settings_are_refused(environment: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        settings_from(environment)
