"""`python -m consumers SERVICE`: one process of one service, from its environment to its last acknowledgement."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import uvloop

from catalog.metrics import STARTUP
from consumers import deletion_cost, log
from consumers.assembly import Parts
from consumers.dead import DeadLetters
from consumers.health import Health, serve
from consumers.metrics import Meters
from consumers.publish import ConfirmedPublisher
from consumers.settings import Settings, SettingsError, load
from consumers.worker import Worker

USAGE = """usage: python -m consumers SERVICE

Runs the consumers of one service until SIGTERM; SIGUSR1 pauses them, SIGUSR2 lets them go on.
Settings come from the environment; consumers/settings.py reads them.
  RABBITMQ_URL=amqp://... DATA_LAKE_CONNECTION_STRING=... python -m consumers logging"""


async def run(settings: Settings) -> None:
    """Consume every queue of the service until SIGTERM or SIGINT, then end in order; pause in between when told to."""
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    meters = Meters(settings.catalog, settings.service)
    publisher = ConfirmedPublisher(settings.broker, f"{settings.service} publisher")
    parts = Parts(settings, publisher, meters, stopping)
    solitude = asyncio.Lock()
    workers = [
        Worker(
            queue,
            parts.handler(queue.handler),
            settings.broker,
            DeadLetters(settings.catalog.exchange, queue, publisher),
            meters,
            stopping,
            probe=parts.probe(queue.handler),
            solitude=solitude,
        )
        for queue in settings.catalog.queues_of(settings.service)
    ]
    _let_pause(workers, settings.service)
    health = Health(meters.registry, workers, settings.metrics_token)
    server = serve(health, settings.host, settings.port)
    async with asyncio.TaskGroup() as group:  # whatever ends with an error ends the process; its supervisor restarts it
        beside = [health.watch_loop(), _note_startup(workers, meters), *parts.background]
        if settings.pod:
            beside.append(deletion_cost.keep(settings.pod, lambda: sum(worker.at_stake for worker in workers)))
        helpers = [group.create_task(helper) for helper in beside]
        await asyncio.gather(*(worker.run() for worker in workers))
        for task in helpers:
            task.cancel()
    await publisher.close()
    await parts.close()
    server.shutdown()
    log.line("info", message="ended")


def _let_pause(workers: list[Worker], service: str) -> None:
    """SIGUSR1 pauses every queue until SIGUSR2: the door for planned work on a sink."""

    def pause() -> None:
        for worker in workers:
            worker.outage.hold(f"SIGUSR1; `oncall resume {service}` ends it")

    def resume() -> None:
        for worker in workers:
            worker.outage.release("SIGUSR2")

    for name, obey in ((signal.SIGUSR1, pause), (signal.SIGUSR2, resume)):
        asyncio.get_running_loop().add_signal_handler(name, obey)


async def _note_startup(workers: list[Worker], meters: Meters) -> None:
    """Measure from the start of the process until every queue is consumed for the first time."""
    await asyncio.gather(*(worker.consuming.wait() for worker in workers))
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # noqa: ASYNC240 - not a disk
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): starttime
    meters[STARTUP].set(time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    try:
        settings = load(arguments[0], os.environ)
        log.begin(service=settings.service, replica=settings.replica)
        uvloop.run(run(settings))
    except (SettingsError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
