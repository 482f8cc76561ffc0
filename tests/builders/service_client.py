"""Calls to an ASGI application in this process, without a socket."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


class ServiceClient:
    """Sends one request at a time, and gives the response whatever happened inside."""

    def __init__(self, app: FastAPI, headers: dict[str, str] | None = None) -> None:
        self._app = app
        self._headers = headers or {}

    def request(self, method: str, path: str, headers: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        return asyncio.run(self._send(method, path, {**self._headers, **(headers or {})}, more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.request("POST", path, **more)

    def delete(self, path: str, **more: Any) -> httpx.Response:
        return self.request("DELETE", path, **more)

    async def _send(self, method: str, path: str, headers: dict[str, Any], more: dict[str, Any]) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, headers=headers, **more)
