"""The story: events flow without a break while the stack is changed, scaled, drained, killed, and taken away."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from catalog import CATALOG
from proof.flow import STALE, publish
from proof.readback import Seen, Sinks
from proof.stack import Outcomes, Stack, held
from proof.verify import ledgers
from tests.cluster.ledger import Extra, Publication, expected
from tests.cluster.node import Node
from tests.cluster.pods import Pods
from tests.cluster.publishing import TRIGGER_EVERY, WINDOW, Stream, messages, trigger
from tests.cluster.report import Report
from tests.cluster.servers import NAMESPACE, Servers
from tests.cluster.stack import NodeStack
from tests.kubernetes.stack import BROKER, KINDS, PLUGIN
from tests.stacks import Step

EVENTS = 20_000
USUAL = 60.0  # events/s while something is done to the pods
RUSH = 1_500.0  # events/s where a backlog is wanted
SERVICE = CATALOG.service(CATALOG.queue_of("lake").service)
LAKE = CATALOG.queue_of("lake")
ADDED = "ml.prediction.completed"  # a key that the handler of the lake knows and its queue does not have
FULL = 0.87  # of what three replicas are given: a fourth is not asked for
LEFT = messages(CATALOG, TRIGGER_EVERY)[-100:]  # the last one is a trigger
BROKER_KINDS = ",".join(f"{kind}.rabbitmq.com" for kind in KINDS[BROKER])
BINDINGS, POLICIES = "bindings.rabbitmq.com", "policies.rabbitmq.com"


@dataclass
class Story:
    """Everything that the acts need; each act leaves one replica of every service running."""

    node: Node
    servers: Servers
    stack: NodeStack
    report: Report
    pods: Pods
    stream: Stream
    extra: list[tuple[float, float]] = field(default_factory=list)

    def tell(self) -> None:
        """All of it, into the report. Raises what ends it before its time."""
        self.begin()
        sinks = Sinks.of(self.seen.endpoints, self.servers.connection_string)
        before, listening = sinks.look(), Outcomes(self.seen)
        self.stream.start()
        for act in (self.roll, self.scale, self.pause, self.exhaust, self.rebind, self.autoscale, self.drift):
            act()
        self.finish(sinks, before, listening)
        self.leave()

    @property
    def seen(self) -> Stack:
        """The broker as the proof's tools know it."""
        return Stack(self.servers.endpoints(Path("/dev/null")), self.servers.api, self.servers.connection_string, ())

    def begin(self) -> None:
        """The first `up`, and two that change nothing."""
        self.report.note("Kubernetes plugin", "official" if shutil.which(PLUGIN) else "our stand-in")
        seconds, steps = self.stack.timed_up()
        self.report.took(f"first up of {len(steps)} objects, pods ready", seconds)
        self.report.took("preview", self.stack.seconds("preview"), goal=4)
        seconds, steps = self.stack.timed_up()
        self.report.took("up that changes nothing", seconds, goal=3)
        self.report.expect("a second up changes nothing", [], steps)

    def roll(self) -> None:
        """A changed prefetch, and nothing but the pods that it concerns."""
        seconds, steps = self.stack.timed_up(**{f"{LAKE.setting}.prefetch": "20"})
        self.report.took("up with another prefetch, pods rolled", seconds, goal=6)
        changed = [step for step in steps if step.kind != "Stack"]
        self.report.expect("what a prefetch changes", [Step("update", "Deployment", SERVICE.name)], changed)
        self.stack.unset(f"{LAKE.setting}.prefetch")
        self.report.took("up back to the prefetch before", self.stack.timed_up()[0])

    def scale(self) -> None:
        """By hand to four, everything off the node and on it again, back to one."""
        self.report.took("scale 1 -> 4 by hand", self.pods.scale(SERVICE.name, 4))
        self.report.expect("drift after a hand", {f"deployment {SERVICE.name}"}, self.stack.drift())
        seconds, refused = self.pods.drain()
        self.report.took("drain and uncordon", seconds)
        self.report.note("evictions that the budget put off", str(refused))
        self.report.expect("the budget was asked and said no", expected=True, actual=refused > 0)
        self.report.took("scale 4 -> 1 by hand", self.pods.scale(SERVICE.name, 1))

    def pause(self) -> None:
        """Two replicas paused for planned work while events go on: they stay ready, and go on when they are told."""
        self.pods.scale(SERVICE.name, 2)
        names = {pod["metadata"]["name"] for pod in self.pods.all(SERVICE.name)}
        self.report.expect("pods told to pause", names, set(self.stack.oncall("pause", SERVICE.name)["told"]))
        waiting = partial(self.servers.api.held, LAKE.name)
        self._wait("events wait while paused", lambda: waiting()[0] > 3 * USUAL)
        self.report.expect("replicas available while paused", 2, self.pods.available(SERVICE.name))
        self.report.expect("pods told to resume", names, set(self.stack.oncall("resume", SERVICE.name)["told"]))
        self.report.took("resumed, backlog gone", self._wait("what waited is consumed", lambda: waiting()[0] < USUAL))
        self.pods.scale(SERVICE.name, 1)

    def exhaust(self) -> None:
        """The kernel kills a consumer for its memory."""
        seconds, reason = self.pods.kill_for_memory(SERVICE.name)
        self.report.note("killed for memory, ready again", f"{seconds:.1f} s", reason)

    def rebind(self) -> None:
        """A key added, then the configuration before."""
        for what, change in (("add a key", self._bind), ("remove a key", self._unbind)):
            began = time.monotonic()
            change()
            self.extra.append((began, time.monotonic()))
            self.report.took(f"up to {what}", self.extra[-1][1] - began)
            time.sleep(5)  # some events while it is so

    def _bind(self) -> None:
        self.stack.timed_up(**{LAKE.bindings: ",".join((*LAKE.keys, ADDED))})

    def _unbind(self) -> None:
        self.stack.unset(LAKE.bindings)
        self.stack.up()

    def autoscale(self) -> None:
        """Handed to KEDA, up with a backlog, down without one, and taken back."""
        self._switch("on")
        kubectl = self.pods.kubectl
        # Our own 300 s before the first of the pods goes, and 60 s between two, are not waited for here.
        quick = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]}
        behavior = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": quick}}}
        kubectl.patch("scaledobject", SERVICE.name, {"spec": {"advanced": behavior}})
        self._wait("KEDA has an autoscaler", lambda: kubectl.find("hpa", f"keda-hpa-{SERVICE.name}"))
        self.report.took("scale 1 -> 3 by KEDA, with a backlog", self._wait("KEDA asks for 3", self._pressed, 120))
        self.stream.rate = USUAL
        self.pods.wait(SERVICE.name, 3)
        seconds = self.pods.wait(SERVICE.name, 1, 180)
        self.report.note("scale 3 -> 1 by KEDA, without one", f"{seconds:.1f} s", "its pauses of 300 and 60 s left out")
        self._switch("off")

    def _switch(self, autoscaling: str) -> None:
        """Neither direction may end a replica, or start one."""
        with self.pods.watched(SERVICE.name) as available:
            seconds, _ = self.stack.timed_up(**{f"autoscaling.{SERVICE.name}": autoscaling})
        self.report.took(f"up with autoscaling {autoscaling}", seconds)
        self.report.expect(f"available while autoscaling goes {autoscaling}", {1}, set(available))

    def _pressed(self) -> bool:
        """Keep as much waiting as three replicas are given; whether three are wanted."""
        api, queues = self.servers.api, CATALOG.queues_of(SERVICE.name)
        waiting = max(api.held(queue.name)[0] / queue.backlog_per_replica for queue in queues)
        self.stream.rate = RUSH if waiting < 3 * FULL else USUAL
        return bool(self.pods.deployment(SERVICE.name)["spec"]["replicas"] >= 3)

    def drift(self) -> None:
        """All published and settled; then what hands remove is named, and put back."""
        self.stream.rate = RUSH
        self._wait("everything is published", lambda: self.stream.done, 180)
        self._settle()
        self.report.expect("drift after all changes", set(), self.stack.drift())
        kubectl, key = self.pods.kubectl, LAKE.keys[0]
        for binding in kubectl.list(BINDINGS):
            if (binding["spec"]["destination"], binding["spec"]["routingKey"]) == (LAKE.name, key):
                kubectl.run("delete", BINDINGS, binding["metadata"]["name"])
        self.servers.api.delete(f"policies/%2F/{LAKE.name}")
        named = {f"binding {LAKE.name}/{key}", f"policy {LAKE.name}"}
        self.report.expect("drift after a binding and a policy were removed", named, self.stack.drift())
        self.report.took("up brings a removed binding back", self.stack.timed_up()[0])
        kubectl.run("annotate", POLICIES, "--all", "--overwrite", f"looked-at={time.time():.0f}")
        self._wait("the operator brings a removed policy back", lambda: not self.stack.drift())

    def finish(self, sinks: Sinks, before: Seen, listening: Outcomes) -> None:
        """The main job over everything, then every sink against what was confirmed."""
        last = trigger(CATALOG, EVENTS, WINDOW)
        asyncio.run(publish(self.servers.amqp, CATALOG.exchange.name, [last]))
        now, heard = time.monotonic(), []

        def ended() -> bool:
            heard.extend(listening.heard())
            return f"{last.identity}:completed" in {event["id"] for event in heard}

        self._wait("the main job ends", ended, 120)
        self._settle()
        publications = [*self.stream.confirmed, Publication(last, now, now)]
        self.report.expect("events without a confirmation", [], self.stream.unconfirmed)
        added, removed = self.extra
        extra = Extra(LAKE, ADDED, added, removed)
        plan = expected(CATALOG, WINDOW, publications, extra, sinks.lake.places())
        result, again = ledgers(plan, sinks, before, heard), held(self.seen)
        self.report.note("events confirmed", f"{len(publications):,}")
        for queue in CATALOG.queues:
            self.report.count(result.sinks[queue.name], again[queue.name]["redelivered"])
        for ledger in (*result.dead.values(), result.snapshots, result.outcomes):
            self.report.count(ledger, 0)
        policies = len(self.pods.kubectl.list("networkpolicies"))
        self.report.note(
            "network policies", str(policies), "admitted; not enforced: the bridge of this node knows none"
        )
        for service, sizes in self.pods.memory().items():
            self.report.note(f"memory of a pod of {service}", ", ".join(f"{size:.0f} MB" for size in sizes))

    def leave(self) -> None:
        """The stack goes, comes back, and goes with its namespace; what others share stays each time."""
        self._intact("destroy", self.stack.destroy)
        self.stack.up()
        self._settle()
        self._intact("deleting the namespace", self._delete_namespace)

    def _delete_namespace(self) -> None:
        """As docs/environments.md says: the way to the broker goes first, so that the operator lets nothing go."""
        kubectl = self.pods.kubectl
        kubectl.run("delete", "namespace", NAMESPACE, "--wait=false")
        self._wait("the Secrets are gone", lambda: not kubectl.list("secrets"))
        held_back = kubectl.run("get", BROKER_KINDS, "-o", "name").split()
        if held_back:
            self.report.note("objects of the operator that hold up the namespace", str(len(held_back)))
            kubectl.run("patch", *held_back, "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')
        self._wait("the namespace is gone", lambda: not kubectl.find("namespace", NAMESPACE))

    def _intact(self, what: str, removal: Callable[[], object]) -> None:
        """Remove with messages in every queue; they, and the exchange, must be there afterwards."""
        for service in CATALOG.services:
            self.pods.kubectl.run("scale", f"deployment/{service.name}", "--replicas=0")
        self._wait("no consumer is left", lambda: not self.pods.all())
        asyncio.run(publish(self.servers.amqp, CATALOG.exchange.name, LEFT))
        before, began = self._waiting(), time.monotonic()
        removal()
        self.report.took(what, time.monotonic() - began)
        kept = self._waiting()
        self.report.note(f"messages that {what} left", f"{sum(kept.values())} of {sum(before.values())}")
        self.report.expect(f"messages in queues after {what}", before, kept)
        exchange = self.servers.api.get(f"exchanges/%2F/{CATALOG.exchange.name}") or {}
        self.report.expect(f"the exchange after {what}", "topic", exchange.get("type"))

    def _waiting(self) -> dict[str, int]:
        return {queue.name: self.servers.api.held(queue.name)[0] for queue in CATALOG.queues}

    def _settle(self) -> None:
        """Wait until no queue has held anything for a while."""
        since = time.monotonic()

        def quiet() -> bool:
            nonlocal since
            if any(at["messages"] for at in held(self.seen).values()):
                since = time.monotonic()
            return time.monotonic() - since > STALE

        self._wait("every queue is settled", quiet, 240)

    def _wait(self, what: str, holds: Callable[[], object], within: float = 60.0) -> float:
        return self.node.programs.wait(what, holds, within)
