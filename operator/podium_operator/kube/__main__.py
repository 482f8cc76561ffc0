"""The operator process: `python -m podium_operator.kube`."""

import asyncio
import logging
import os
import sys

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
    asyncio.run(run(settings))


async def run(settings: Settings) -> None:
    """Serve health and metrics, and act while this replica holds the lease."""
    metrics = Metrics()
    server = await _serve(metrics, settings.port)
    advisor = HttpAdvisor(settings.suggestion_url, settings.token_file)
    try:
        async with KubernetesApi() as api:
            operator = Operator(api, advisor, metrics)
            await api.acquire_lease(settings.lease_namespace, settings.lease_name, settings.identity)
            metrics.lead(is_leading=True)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(watch(operator, settings.namespaces))
                    tasks.create_task(api.hold_lease(settings.lease_namespace, settings.lease_name, settings.identity))
            finally:
                await operator.close()
    finally:
        await advisor.close()
        await server.cleanup()


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
