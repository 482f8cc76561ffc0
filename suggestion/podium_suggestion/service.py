"""The engine over HTTP: one exchange is one POST. Calls carry a bearer token; errors say rule and remedy, never a traceback.

Handlers are plain functions, so each request has a thread of its own; exchanges of one experiment take turns in the engine.
"""

import hmac
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from podium_contract.model import OpenModel
from podium_contract.names import experiment_key
from podium_contract.wire import Advice, AdviceRequest, TrialRecord
from podium_suggestion.engine import Engine, ImmutableSpecError, UnknownExperimentError
from podium_suggestion.metrics import Metrics
from podium_suggestion.settings import DEFAULT_MAX_REQUEST_BYTES
from podium_suggestion.store import Store, StoreError

MAX_PAGE = 1000
"""Trials in one page of an experiment's records."""
_RETRY_SECONDS = 5
_SHOWN_FAULTS = 20

_log = logging.getLogger(__name__)


class Error(OpenModel):
    """What went wrong, for a program (`code`) and for a person."""

    code: str
    rule: str
    """What must hold, what was got instead, and what to do, in a sentence."""
    path: str = ""
    """The field that is at fault."""
    faults: tuple[str, ...] = ()
    """Every fault of a malformed request, as `path: message`."""


class ErrorBody(OpenModel):
    error: Error


class TrialPage(OpenModel):
    """Some of an experiment's trials."""

    trials: tuple[TrialRecord, ...]
    next: int | None = None
    """Give this as `after` for the next page; absent on the last."""


class TokenFile:
    """A token in a file, read again when the file changes, so that it can be rotated without a restart."""

    def __init__(self, path: Path) -> None:
        """Raise ValueError unless the file holds a token."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._token = b""
        if not self._current():
            raise ValueError(f"{path} must hold the token that callers present, got an empty file; write one into it")

    def admits(self, token: str) -> bool:
        """Answer whether a caller's token is the right one, in time that does not depend on how wrong it is."""
        expected = self._current()
        return bool(expected) and hmac.compare_digest(token.encode(), expected)

    def _current(self) -> bytes:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if stamp != self._stamp:
                self._token = self._path.read_bytes().strip()
                self._stamp = stamp
        except OSError as fault:
            if self._stamp is None:
                raise ValueError(f"{self._path} cannot be read: {fault.strerror}; check PODIUM_TOKEN_FILE") from fault
            _log.warning(
                "the token file %s cannot be read (%s); the last token stays valid", self._path, fault.strerror
            )
        return self._token


def create_app(
    store: Store,
    token: TokenFile | None = None,
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES,
) -> FastAPI:
    """Return the service over a store. Without a token anybody may call."""
    metrics = Metrics()
    engine = Engine(store, watch=metrics.count_decisions)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title="Podium suggestion service", version="v1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(_health(store, metrics))
    app.include_router(_api(engine, metrics), dependencies=[Depends(_guard(token))], responses=_documented_errors())
    app.add_middleware(SizeLimit, limit=max_request_bytes)
    _answer_errors(app, metrics)
    return app


# --- routes ---------------------------------------------------------------------------------------------------


def _health(store: Store, metrics: Metrics) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", response_class=PlainTextResponse, summary="The process answers")
    def healthz() -> str:
        return "ok"

    @router.get("/readyz", response_class=PlainTextResponse, summary="The store can be reached")
    def readyz() -> str:
        store.check()
        return "ok"

    @router.get("/metrics", summary="Series for Prometheus")
    def series() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return router


def _api(engine: Engine, metrics: Metrics) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/advise", response_model=Advice, summary="One exchange: facts in, advice out")
    def advise(request: AdviceRequest) -> Response:
        with metrics.exchange(request.spec.search.algorithm, request.spec.scheduler.algorithm):
            advice = engine.advise(request)
        return _json(advice)

    @router.get(
        "/experiments/{namespace}/{name}/{uid}/trials",
        response_model=TrialPage,
        summary="An experiment's trials with their histories",
    )
    def trials(
        namespace: str,
        name: str,
        uid: str,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    ) -> Response:
        try:
            records = engine.records(experiment_key(namespace, name, uid), after=after, limit=limit + 1)
        except UnknownExperimentError as fault:
            return _error(404, "unknown-experiment", f"the store must hold the experiment, got {fault}; check the path")
        page, has_more = records[:limit], len(records) > limit
        return _json(TrialPage(trials=tuple(page), next=page[-1].number if has_more else None))

    @router.delete("/experiments/{namespace}/{name}/{uid}", status_code=204, summary="Forget an experiment")
    def forget(namespace: str, name: str, uid: str) -> None:
        engine.forget(experiment_key(namespace, name, uid))

    return router


def _json(model: OpenModel) -> Response:
    # Pydantic writes the contract's JSON itself, non-finite numbers included; FastAPI's encoder would not.
    return Response(model.model_dump_json(by_alias=True, exclude_none=True), media_type="application/json")


def _guard(token: TokenFile | None) -> Callable[..., None]:
    bearer = HTTPBearer(auto_error=False, description="The token of PODIUM_TOKEN_FILE")

    def admit(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if token is not None and (given is None or not token.admits(given.credentials)):
            raise HTTPException(401)

    return admit


# --- errors ---------------------------------------------------------------------------------------------------


def _answer_errors(app: FastAPI, metrics: Metrics) -> None:
    @app.exception_handler(UnknownExperimentError)
    def unknown(_request: Request, fault: UnknownExperimentError) -> Response:
        remedy = "send a request whose facts are complete (complete: true)"
        return _error(409, "unknown-experiment", f"the store must hold the experiment, got {fault}; {remedy}")

    @app.exception_handler(ImmutableSpecError)
    def immutable(_request: Request, fault: ImmutableSpecError) -> Response:
        return _error(422, "immutable-field", str(fault), path=fault.path)

    @app.exception_handler(StoreError)
    def store_error(_request: Request, fault: StoreError) -> Response:
        metrics.count_store_error()
        _log.error("%s", fault)
        rule = f"nothing was decided or stored: {fault}; send the same request again"
        return _error(503, "store-unavailable", rule, headers={"Retry-After": str(_RETRY_SECONDS)})

    @app.exception_handler(RequestValidationError)
    def malformed(_request: Request, fault: RequestValidationError) -> Response:
        faults = [_fault_in_words(detail) for detail in fault.errors()]
        shown = tuple(faults[:_SHOWN_FAULTS])
        return _error(422, "invalid-request", f"{shown[0]}; correct the request", faults=shown)

    @app.exception_handler(StarletteHTTPException)
    def http_error(_request: Request, fault: StarletteHTTPException) -> Response:
        code, rule = _HTTP_ERRORS.get(fault.status_code, ("http-error", str(fault.detail)))
        headers = {"WWW-Authenticate": "Bearer"} if fault.status_code == 401 else dict(fault.headers or {})
        return _error(fault.status_code, code, rule, headers=headers)

    @app.exception_handler(Exception)
    def defect(_request: Request, fault: Exception) -> Response:
        _log.error("a request failed: %r", fault)
        return _error(500, "internal", "the service has a defect; its log has the details, please report it")


_HTTP_ERRORS = {
    401: (
        "unauthorized",
        "a call carries Authorization: Bearer TOKEN, got none or a wrong one; send the service's token",
    ),
    404: ("not-found", "the path must be one of /openapi.json, got another; correct it"),
    405: ("method-not-allowed", "the path has other methods, see /openapi.json; use one of them"),
}


def _error(status: int, code: str, rule: str, headers: dict[str, str] | None = None, **details: Any) -> JSONResponse:
    body = ErrorBody(error=Error(code=code, rule=rule, **details))
    return JSONResponse(body.model_dump(mode="json", by_alias=True, exclude_defaults=True), status, headers)


def _fault_in_words(detail: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "body") or "body"
    got = repr(detail.get("input"))
    return f"{path}: {detail['msg']}, got {got if len(got) <= 80 else got[:77] + '...'}"


def _documented_errors() -> dict[int | str, dict[str, Any]]:
    return {
        401: {"model": ErrorBody, "description": "No token, or a wrong one"},
        409: {"model": ErrorBody, "description": "The store does not hold the experiment: send complete facts"},
        413: {"model": ErrorBody, "description": "The request is too large"},
        422: {"model": ErrorBody, "description": "The request is malformed, or changes an immutable field"},
        503: {"model": ErrorBody, "description": "The store does not answer now: send the same request again"},
    }


class SizeLimit:
    """Refuses bodies above a limit, whether or not they say how long they are."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            await self._refuse(scope, receive, send)
            return
        messages = await self._read(receive)
        if messages is None:
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, _replay(messages, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        """Return the whole body; None as soon as it exceeds the limit."""
        messages, size = [], 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                return None
            if not message.get("more_body", False):
                return messages

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = f"a request has at most {self._limit} bytes, got more; tell fewer trials at a time"
        await _error(413, "request-too-large", rule)(scope, receive, send)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that gives messages that were read already, then those that follow."""
    pending = iter(messages)

    async def replay() -> Message:
        message = next(pending, None)
        return await receive() if message is None else message

    return replay
