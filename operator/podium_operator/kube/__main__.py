"""The operator process: `python -m podium_operator.kube`."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from podium_operator.advisors.http import HttpAdvisor
from podium_operator.kube.api import KubernetesApi
from podium_operator.kube.handlers import watch
from podium_operator.kube.operator import Operator
from podium_operator.kube.settings import Settings, settings_from
from podium_operator.metrics import Metrics


def main() -> None:
    """Read the settings and run until told to stop."""
    try:
        settings = settings_from(os.environ)
    except ValueError as fault:
        sys.exit(f"the operator cannot start: {fault}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("kopf.objects", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    asyncio.run(run(settings, KubernetesApi()))


async def run(settings: Settings, kubernetes: KubernetesApi) -> None:
    """Serve health and metrics, and act while this replica holds the lease."""
    metrics = Metrics()
    server = await _serve(metrics, settings.port)
    advisor = HttpAdvisor(settings.suggestion_url, settings.token_file)
    lease = (settings.lease_namespace, settings.lease_name, settings.identity)
    try:
        async with kubernetes as api:
            await api.acquire_lease(*lease)
            metrics.lead(is_leading=True)
            try:
                await _act(Operator(api, advisor, metrics), settings.namespaces, api.hold_lease(*lease))
            finally:
                await api.release_lease(*lease)
    finally:
        await advisor.close()
        await server.cleanup()


async def _act(operator: Operator, namespaces: tuple[str, ...], holding: Coroutine[Any, Any, None]) -> None:
    """Look after experiments until a signal ends the watch, or another replica has taken the lease."""
    watching, holds = asyncio.create_task(watch(operator, namespaces)), asyncio.create_task(holding)
    try:
        await asyncio.wait({watching, holds}, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            holds.result()
            sys.exit("another replica acts now")
        watching.result()
    finally:
        for task in (watching, holds):
            task.cancel()
        await asyncio.gather(watching, holds, return_exceptions=True)
        await operator.close()


async def _serve(metrics: Metrics, port: int) -> web.AppRunner:
    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthy), web.get("/readyz", healthy), web.get("/metrics", page)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner


if __name__ == "__main__":
    main()
