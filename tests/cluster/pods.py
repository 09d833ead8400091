"""What happens to pods in a cluster's life: rolled, scaled, evicted, killed for memory; each done and waited for."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proof.counters import scrape
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.cluster.programs import Programs
from tests.cluster.world import NODE

COMPONENT = "app.kubernetes.io/component=consumer"
NAME = "app.kubernetes.io/name"
KILLED = 128 + signal.SIGKILL  # exit code
MEMORY = "process_resident_memory_bytes"

# Children that are each smaller than the consumer, so that it is the consumer whom the kernel chooses.
EAT = """
import os, time
for _ in range({children}):
    if not os.fork():
        held = bytearray(os.urandom(1)) * ({size} << 20)
        time.sleep(60)
time.sleep(60)
"""


@dataclass(frozen=True)
class Pods:
    """The consumers' pods of one namespace."""

    kubectl: Kubectl
    programs: Programs

    def all(self, service: str = "") -> list[dict[str, Any]]:
        """Those that are not being ended."""
        selector = f"{NAME}={service}" if service else COMPONENT
        return [pod for pod in self.kubectl.list("pods", selector) if "deletionTimestamp" not in pod["metadata"]]

    def deployment(self, service: str) -> dict[str, Any]:
        found = self.kubectl.find("deployment", service)
        assert found, f"there is no Deployment {service}"
        return found

    def available(self, service: str) -> int:
        return int(self.deployment(service)["status"].get("availableReplicas", 0))

    @contextmanager
    def watched(self, service: str) -> Iterator[list[int]]:
        """How many are available, noted again and again until the block ends."""
        seen, over = [self.available(service)], threading.Event()

        def look() -> None:
            while not over.wait(0.2):
                seen.append(self.available(service))

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield seen
            finally:
                over.set()
            looking.result()

    def settled(self, service: str, replicas: int) -> bool:
        """Whether exactly so many run, all of them available."""
        found = self.deployment(service)
        counts = (found["status"].get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
        return {replicas} == {*counts, found["spec"]["replicas"]} and len(self.all(service)) == replicas

    def wait(self, service: str, replicas: int, within: float = 90.0) -> float:
        """Seconds until it is settled."""
        return self.programs.wait(f"{service} runs {replicas}", lambda: self.settled(service, replicas), within)

    def scale(self, service: str, replicas: int) -> float:
        """By hand, as in the night; seconds until so many are available."""
        self.kubectl.run("scale", f"deployment/{service}", f"--replicas={replicas}")
        return self.wait(service, replicas)

    def drain(self) -> tuple[float, int]:
        """Take every pod off the node, as `kubectl drain` does: seconds, and how often the budget said not yet.

        There is only this node: it takes pods again as soon as the budget of every service with several is used up.
        """
        began, refused = time.monotonic(), Counter[str]()
        leaving = [pod["metadata"] for pod in self.all()]
        replicas = Counter(metadata["labels"][NAME] for metadata in leaving)
        several = {service for service, count in replicas.items() if count > 1}
        self.kubectl.run("cordon", NODE)
        cordoned = True
        while leaving:
            for metadata in list(leaving):
                if self._evicted(metadata["name"]):
                    leaving.remove(metadata)
                else:
                    refused[metadata["labels"][NAME]] += 1
            if cordoned and several <= set(refused):
                self.kubectl.run("uncordon", NODE)
                cordoned = False
            self.programs.check()
            assert time.monotonic() - began < 180, f"not evicted after 180 s: {[pod['name'] for pod in leaving]}"
            time.sleep(0.5)
        if cordoned:
            self.kubectl.run("uncordon", NODE)
        for service, count in replicas.items():
            self.wait(service, count)
        return time.monotonic() - began, sum(refused.values())

    def _evicted(self, pod: str) -> bool:
        """Ask the API server, which asks the budget."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.kubectl.namespace},
        }
        path = f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{pod}/eviction"
        try:
            self.kubectl.run("create", "--raw", path, "-f", "-", given=json.dumps(eviction))
        except KubectlError as refusal:
            if "disruption budget" not in str(refusal):
                raise
            return False
        return True

    def kill_for_memory(self, service: str) -> tuple[float, str]:
        """Fill a pod's memory until the kernel ends its consumer: seconds until it runs again, and what is told of it.

        Mostly OOMKilled; where containerd hears of the end before the reason, Error. The kernel counts both.
        """
        pod, kills = self.all(service)[0]["metadata"]["name"], _kills()
        script = EAT.format(children=self._limit(service) // 30 + 2, size=30)
        began = time.monotonic()
        self.kubectl.succeeds("exec", pod, "--", "python3", "-c", script)  # ends with the container
        self.programs.wait(f"{pod} was killed for its memory", lambda: _kills() > kills and self._ended(pod))
        self.wait(service, 1)
        return time.monotonic() - began, self._ended(pod)

    def _limit(self, service: str) -> int:
        """MiB."""
        container = self.deployment(service)["spec"]["template"]["spec"]["containers"][0]
        return int(container["resources"]["limits"]["memory"].removesuffix("Mi"))

    def _ended(self, pod: str) -> str:
        """Why its container was killed the last time, empty where it was not."""
        found = self.kubectl.find("pod", pod) or {"status": {}}
        states = [status["lastState"].get("terminated", {}) for status in found["status"].get("containerStatuses", ())]
        return next((state["reason"] for state in states if state.get("exitCode") == KILLED), "")

    def memory(self) -> dict[str, list[float]]:
        """MB resident, as each pod tells, by service."""
        found: dict[str, list[float]] = {}
        for pod in self.all():
            port = pod["spec"]["containers"][0]["ports"][0]["containerPort"]
            samples = scrape(f"http://{pod['status']['podIP']}:{port}")
            service = pod["metadata"]["labels"][NAME]
            found.setdefault(service, []).append(samples.get((MEMORY, ()), 0.0) / 1e6)
        return found


def _kills() -> int:
    """How often the kernel has killed for memory."""
    counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(counts["oom_kill"])
