"""The suggestion service over HTTP, with the time-outs and the token that every call needs."""

from pathlib import Path

import httpx
from pydantic import ValidationError

from podium_contract.wire import Advice, AdviceRequest
from podium_operator.core.ports import AdvisorUnavailableError, UnknownExperimentError

UNKNOWN_EXPERIMENT = "unknown-experiment"
"""Error code of an experiment that the service's store does not hold."""


class HttpAdvisor:
    """Asks the suggestion service. Requests carry an id, so a retry after a lost answer gets the same answer."""

    def __init__(self, base_url: str, token_file: Path | None = None, timeout: float = 30.0, attempts: int = 3) -> None:
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout)
        self._token_file = token_file
        self._attempts = attempts

    async def advise(self, request: AdviceRequest) -> Advice:
        body = request.model_dump_json(by_alias=True, exclude_none=True)
        response = await self._post("/v1/advise", body)
        if response.status_code == httpx.codes.CONFLICT and _error_code(response) == UNKNOWN_EXPERIMENT:
            raise UnknownExperimentError(f"the suggestion service does not know {request.experiment}")
        if response.is_error:
            raise AdvisorUnavailableError(
                f"the suggestion service answers {response.status_code}: {response.text[:500]}"
            )
        try:
            return Advice.model_validate_json(response.content)
        except ValidationError as fault:
            raise AdvisorUnavailableError(f"the suggestion service's answer is not understood: {fault}") from fault

    async def forget(self, experiment: str) -> None:
        """Delete an experiment's history; an absent one, or an absent service, is no error."""
        try:
            await self._client.delete(f"/v1/experiments/{experiment}", headers=self._headers())
        except httpx.TransportError:
            return  # the history outlives the experiment; it is keyed by uid and disturbs nobody

    async def close(self) -> None:
        await self._client.aclose()

    async def _post(self, path: str, body: str) -> httpx.Response:
        fault: httpx.TransportError | None = None
        for _ in range(self._attempts):
            try:
                return await self._client.post(path, content=body, headers=self._headers())
            except httpx.TransportError as error:
                fault = error
        raise AdvisorUnavailableError(f"the suggestion service does not answer: {fault!r}") from fault

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self._token_file is not None:
            headers["authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        return headers


def _error_code(response: httpx.Response) -> str | None:
    try:
        error = response.json().get("error", {})
    except (ValueError, AttributeError):
        return None
    return error.get("code") if isinstance(error, dict) else None
