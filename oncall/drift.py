"""What hands have changed: the broker and the Deployments as they are, against what the catalog declares."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator

from catalog.broker import Capabilities, UnsupportedBroker
from infra.broker_api import Api, Refused
from infra.differences import MEND, OPERATOR_MENDS, findings
from infra.live import Finding, Live
from infra.topology import topology
from oncall import show
from oncall.command import Command
from oncall.deployments import scaled_by_hand
from oncall.endpoints import BROKER, Endpoints
from oncall.show import Answer
from oncall.trouble import Trouble


def run(_: argparse.Namespace, endpoints: Endpoints) -> Answer:
    found = [*_of_the_broker(endpoints), *scaled_by_hand(endpoints)]
    rows = [(one.kind, one.name, one.fault, one.what, one.next_step) for one in found]
    head = ("kind", "name", "is", "in words", "what to do")
    data = {"drift": [dict(zip(("kind", "name", "fault", "what", "next_step"), row, strict=True)) for row in rows]}
    if not found:
        return Answer(data, [show.text(f"No drift: broker {endpoints.broker} holds what the catalog declares")])
    counts = ", ".join(f"{count} {fault}" for fault, count in Counter(one.fault for one in found).items())
    return Answer(data, [show.table(f"Drift: {counts}", head, rows)], [str(one) for one in found])


def _of_the_broker(endpoints: Endpoints) -> Iterator[Finding]:
    """From the objects themselves: the policy in effect on a queue is shown up to 13 s late, the policies are not."""
    login, cluster = endpoints.management, endpoints.kubernetes
    api = Api(login.url, endpoints.amqp, login.user, login.password)
    try:
        can = Capabilities.of(api.get("overview")["rabbitmq_version"])
        live = Live.of(api.get)
    except (Refused, UnsupportedBroker) as error:
        raise Trouble(str(error)) from None
    wanted = topology(endpoints.catalog, can, endpoints.generation, autoscaled=bool(cluster and cluster.autoscaled))
    mend = OPERATOR_MENDS.format(namespace=cluster.namespace) if cluster and cluster.operator else MEND
    yield from findings(live, wanted, mend)


COMMAND = Command(
    name="drift",
    summary="what hands have changed at the broker and the Deployments",
    description="Compare the broker with what the catalog declares, changing nothing: bindings missing or too many,\n"
    "queues missing or of another type, policies that hide ours, foreign consumers, users missing, permissions\n"
    "wider than derived; on Kubernetes also replicas that somebody scaled. Each is named with what to do about it.",
    examples=("oncall drift", "oncall drift --json"),
    one="something differs",
    needs=BROKER,
    arguments=lambda _: None,
    run=run,
)
