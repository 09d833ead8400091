"""The scenario of a broker of three nodes, of which one is killed and comes back, and then another."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from tests.brokers import eventually
from tests.chaos.campaign import Lab
from tests.chaos.figures import Row, at_least, at_most, exactly, fates, none
from tests.chaos.ledger import Publishing
from tests.chaos.world import COLLECTORS, SERVICES, Scene, World
from tests.reliability.stand import ADMIN, PASSWORD, QUICK, Stand
from tools import servers
from tools.servers import LOOPBACK, BrokerPorts, Server, running

OTHERS = ("second", "third")  # beside the stand's own node, which looks after the lab and is never killed
MEMBERS = 1 + len(OTHERS)
RATE = 100.0  # events/s
AWAY = 5.0  # seconds for which a dead node is missed before it is started again
SERVING_WITHIN = 10.0


@dataclass
class Node:
    """One more node of the stand's broker, and its process at this moment."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]

    @property
    def name(self) -> str:
        return f"{self.server.name}@localhost"


def clustered(lab: Lab, world: World) -> Row:
    """14: consumers and publisher are connected to the node that dies, and are led to a living one as by a Service."""
    events = lab.of(6_000, 1_200)
    with ExitStack() as ending:
        nodes = [_joined(world.stand, ending, name) for name in OTHERS]
        world.stand.api.post("rebalance/queues", {})
        eventually(lambda: all(_led(world, node) for node in nodes), 60)
        with world.scene() as scene:
            _lead(world, nodes[0])
            for service in SERVICES:
                scene.start(service)
            scene.consuming()
            deaths = [_killed(scene, ending, events, *pair) for pair in (nodes, nodes[::-1])]
            scene.settle(300)
            queues = _queues(world)
            scene.end_all()
            led = ", ".join(str(death.led) for death in deaths)
            return Row(
                f"2 x {events:,} events, the killed nodes led {led} of {len(queues)} queues,"
                f" {sum(death.confirmed for death in deaths):,} events confirmed while they were gone",
                [
                    *fates(scene.account()),
                    exactly("queues with 3 members", len(queues), sum(len(q["online"]) == MEMBERS for q in queues)),
                    at_least("leaders lost, the fewest", 1, min(death.led for death in deaths), "queues"),
                    at_least("confirmed without a node, the fewest", 1, min(d.confirmed for d in deaths), "events"),
                    at_most(
                        "slowest queue to serve again",
                        lab.within(SERVING_WITHIN),
                        max(death.silence for death in deaths),
                    ),
                    none("ended by themselves", scene.ended_alone),
                ],
            )


@dataclass(frozen=True)
class Death:
    """What a killed node had led, seconds until each collector's queue served again, what was confirmed till then."""

    led: int
    silence: float
    confirmed: int


def _killed(scene: Scene, ending: ExitStack, events: int, node: Node, other: Node) -> Death:
    """Kill a node under traffic and start it again; those who were connected to it are led to another."""
    world = scene.world
    stream = Publishing(_over(world), world.catalog.exchange.name, world.mixed(events), RATE)
    scene.streams.append(stream)
    stream.start()
    time.sleep(2)
    died, before, led = datetime.now(UTC), len(stream.confirmed), _led(world, node)
    node.process.send_signal(signal.SIGKILL)
    node.process.wait(timeout=30)
    _lead(world, other)
    silence = _silence(scene, died)
    time.sleep(AWAY)
    confirmed = len(stream.confirmed) - before
    node.process = ending.enter_context(running(node.server))
    eventually(lambda: all(len(queue["online"]) == MEMBERS for queue in _queues(world)), 60)
    return Death(led, silence, confirmed)


def _silence(scene: Scene, since: datetime) -> float:
    """Seconds until each queue of the collectors has written something again, by the times of the log."""
    died = {queue.name: since for queue in scene.world.catalog.queues if queue.service in COLLECTORS}
    again = scene.log.first("queue", died, message="consuming")
    written = scene.log.first("queue", again, verdict="written")
    return (max(written.values()) - since).total_seconds()


def _joined(stand: Stand, ending: ExitStack, name: str) -> Node:
    """A node that joins the stand's own and becomes a member of every queue there."""
    first = stand._broker
    amqp, management, prometheus, dist = servers.free_ports(4)
    ports = BrokerPorts(amqp, management, prometheus, dist, int(first.env["ERL_EPMD_PORT"]))
    peers = "cluster_formation.peer_discovery_backend = classic_config\n" + "\n".join(
        f"cluster_formation.classic_config.nodes.{n} = {peer}@localhost" for n, peer in enumerate((first.name, name), 1)
    )
    server = servers.rabbitmq(
        stand.home, ports=ports, user=ADMIN, password=PASSWORD, node=name, version=stand.version,
        conf=f"{QUICK['conf']}\n{peers}", advanced=QUICK["advanced"],
    )  # fmt: skip
    node = Node(server, amqp, ending.enter_context(running(server)))
    stand.api.post(
        f"queues/quorum/replicas/on/{node.name}/grow", {"strategy": "all", "vhost_pattern": ".*", "queue_pattern": ".*"}
    )
    return node


def _lead(world: World, node: Node) -> None:
    """Lead the wire to this node; what was open to another is closed."""
    wire = world.wire
    body = {"listen": f"{LOOPBACK}:{wire.port}", "upstream": f"{LOOPBACK}:{node.port}"}
    requests.post(f"{wire.api}/proxies/amqp", json=body, timeout=5).raise_for_status()


def _led(world: World, node: Node) -> int:
    """How many queues this node leads."""
    return sum(queue["leader"] == node.name for queue in _queues(world))


def _over(world: World) -> str:
    return f"amqp://{ADMIN}:{PASSWORD}@{LOOPBACK}:{world.wire.port}/%2F"


def _queues(world: World) -> list[dict[str, Any]]:
    """Every queue, with its leader, its members and those of them that are online."""
    found: list[dict[str, Any]] = [queue for queue in world.stand.api.get("queues/%2F") if "online" in queue]
    return found
