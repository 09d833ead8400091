"""From the workers to the cluster: what ending this pod would waste, so that scaling down takes an idle one first."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from consumers import log, mounted

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"
EVERY = 10.0  # seconds between two looks: an autoscaler takes minutes to decide, and each change is a write to the API
TIMEOUT = 3.0  # seconds


@dataclass(frozen=True)
class Pod:
    """The pod that we are, the API server that knows it, and the folder with our token and the server's authority."""

    namespace: str
    name: str
    host: str
    port: int
    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")

    def annotate(self, cost: int) -> None:
        """Write the annotation. Raises OSError, HTTPException or ValueError with the server's reason.

        Source: Kubernetes, ReplicaSet, "Pod deletion cost": the pod with the lower number is ended first.
        """
        trusting = ssl.create_default_context(cafile=str(self.account / "ca.crt"))
        headers = {
            "Authorization": f"Bearer {mounted.secret(self.account / 'token')}",  # the kubelet renews it
            "Content-Type": "application/merge-patch+json",
        }
        patch = json.dumps({"metadata": {"annotations": {ANNOTATION: str(cost)}}})
        with closing(HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=trusting)) as server:
            server.request("PATCH", f"/api/v1/namespaces/{self.namespace}/pods/{self.name}", patch, headers)
            answer = server.getresponse()
            said = answer.read()
        if answer.status != 200:
            raise ValueError(f"the API server answers {answer.status}: {said.decode(errors='replace')[:500]}")


async def keep(pod: Pod, cost: Callable[[], int], every: float = EVERY) -> None:
    """Keep the annotation at `cost()` until cancelled; an API server that is away changes nothing for the consumers."""
    told, failing = None, False
    while True:
        if (now := cost()) != told:
            try:
                await asyncio.to_thread(pod.annotate, now)
                told, failing = now, False
            except (OSError, HTTPException, ValueError) as error:
                if not failing:
                    hint = "scaling down may end a busy pod first; may the service account patch pods?"
                    log.line("warning", message="the pod's deletion cost is not kept", detail=f"{error}: {hint}")
                failing = True
        await asyncio.sleep(every)
