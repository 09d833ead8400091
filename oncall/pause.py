"""From a person to the consumers of a service: take nothing more for a while, then go on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from xmlrpc.client import Fault

from catalog.services import SERVICES
from oncall import pods, show
from oncall.command import Command
from oncall.endpoints import Endpoints
from oncall.show import Answer
from oncall.trouble import Trouble, unknown

# What consumers/__main__.py obeys, and what becomes of a process that got it.
PAUSED = "USR1", "finish what they have in hand and take nothing more until `oncall resume {service}`"
RESUMED = "USR2", "take events again; one whose sink is down does so when the sink is back"


def run(order: tuple[str, str], options: argparse.Namespace, endpoints: Endpoints) -> Answer:
    service, (signal, effect) = options.service, order
    if service not in (names := [entry.name for entry in endpoints.catalog.services]):
        raise unknown("service", service, names)
    if cluster := endpoints.kubernetes:
        kind, deaf = "pods", pods.signal(cluster, service, signal)
    else:
        kind, deaf = "processes", _signal_processes(endpoints, service, signal)
    told = [name for name, why in deaf.items() if not why]
    needs = [f"{name} was not told: {why}" for name, why in deaf.items() if why]
    words = f"SIG{signal} went to {len(told)} of {len(deaf)} {kind} of {service}: {', '.join(told) or 'none'}"
    lines = [words, f"They {effect.format(service=service)}"] if told else [words]
    if cluster and service in cluster.autoscaled and signal == PAUSED[0]:
        needs.append(f"{service} is autoscaled: what waits makes KEDA add pods, and those are not paused")
    data = {"service": service, "signal": f"SIG{signal}", "told": told}
    return Answer(data, [show.text("\n".join(lines))], needs)


def _signal_processes(endpoints: Endpoints, service: str, signal: str) -> dict[str, str]:
    """Why each replica could not be told, empty where it was. Raises Trouble where there is none to be told."""
    from infra.supervision import SOCKET, ask  # noqa: PLC0415 - it brings Pulumi along, which no other command needs

    home = endpoints.file.resolve().parent
    try:
        found = ask(home, "getAllProcessInfo")
        replicas = [info for info in found if info["name"].rpartition("-")[0] == service]
        deaf = {info["name"]: _tell(partial(ask, home), info["name"], info["statename"], signal) for info in replicas}
    except (OSError, HTTPException) as error:
        raise Trouble(
            f"no supervisor answers at {home / SOCKET} ({error}): `make up` starts what is down;"
            " the endpoints file of stack local has to lie beside it"
        ) from None
    if not deaf:
        raise Trouble(f"the supervisor at {home / SOCKET} has no process of {service}: `make up` starts it")
    return deaf


def _tell(ask: Callable[..., object], name: str, state: str, signal: str) -> str:
    if state != "RUNNING":  # one that starts would die of a signal that it does not know yet
        return f"it is {state}, and begins unpaused once it runs"
    try:
        ask("signalProcess", name, signal)
    except Fault as fault:
        return fault.faultString
    return ""


def _arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(service.name for service in SERVICES)
    parser.add_argument("service", metavar="SERVICE", help=f"whose consumers: {names}")


PAUSE = Command(
    name="pause",
    summary="let the consumers of a service take nothing, for planned work on what they write to",
    description="Pause every process of a service: it finishes the events in hand, takes no more and stays ready.\n"
    "Events wait in their queues and lose no try. A process that starts later begins unpaused.\n"
    "On Kubernetes this runs a command in each pod, which takes the right to get and create `pods/exec`.",
    examples=("oncall pause logging", "oncall pause logging --json"),
    one="a process could not be told, or an autoscaler will add some that are not paused",
    needs=(),
    arguments=_arguments,
    run=partial(run, PAUSED),
)
RESUME = Command(
    name="resume",
    summary="let the consumers of a service go on after `oncall pause`",
    description="End the pause of every process of a service. One that was not paused does not mind.",
    examples=("oncall resume logging",),
    one="a process could not be told",
    needs=(),
    arguments=_arguments,
    run=partial(run, RESUMED),
)
