"""The pods of a service on Kubernetes, and a signal for the process in each of them."""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes.client
import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from kubernetes.stream.ws_client import ERROR_CHANNEL
from websocket import WebSocketException  # what a stream that breaks off raises

from oncall.deployments import TIMEOUT, reached
from oncall.endpoints import Cluster
from oncall.trouble import Trouble

# The image need not have a shell; the consumers are process 1 of their container.
KILL = "import os, signal; os.kill(1, signal.SIG{})"
PATIENCE = 10  # seconds for one pod
_STATUS = re.compile(r"\{\"kind\":\"Status\".*\}")


def signal(cluster: Cluster, service: str, name: str) -> dict[str, str]:
    """Why each running pod could not be told, empty where it was. Raises Trouble where nobody could be.

    A pod that is ending takes nothing any more and is left out.
    """
    with reached(cluster, "Pods") as client:
        core = kubernetes.client.CoreV1Api(client)
        selector = f"app.kubernetes.io/name={service}"
        found: list[Any] = core.list_namespaced_pod(
            cluster.namespace, label_selector=selector, _request_timeout=TIMEOUT
        ).items
        pods = [pod.metadata.name for pod in found if _runs(pod)]
        if not pods:
            raise Trouble(f"no pod of {service} runs in {cluster.namespace}: `oncall status` tells more")
        return {pod: _kill(client, cluster.namespace, pod, service, name) for pod in pods}


def _runs(pod: Any) -> bool:
    return pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None


def _kill(client: kubernetes.client.ApiClient, namespace: str, pod: str, container: str, name: str) -> str:
    core = kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(client.configuration))  # stream() spoils its client
    try:
        session = stream(
            core.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=["python", "-c", KILL.format(name)],
            stderr=True,
            stdin=False,
            stdout=True,
            tty=False,
            _preload_content=False,
        )
        session.run_forever(timeout=PATIENCE)
        ended: Any = yaml.safe_load(session.read_channel(ERROR_CHANNEL)) or {"message": f"no answer in {PATIENCE} s"}
        said = session.read_all().strip().splitlines()  # empties every channel
        session.close()
    except (ApiException, WebSocketException, OSError) as error:
        return _refusal(str(getattr(error, "reason", error)), namespace)
    return "" if ended.get("status") == "Success" else ": ".join([ended["message"], *said[-1:]])


def _refusal(reason: str, namespace: str) -> str:
    """What the API server said, out of the handshake that the library quotes. Raises Trouble for a missing right."""
    found = _STATUS.search(reason)
    message = json.loads(found[0])["message"] if found else reason.partition(" -+-+- ")[0]
    if "403" in reason:
        raise Trouble(
            f"this user may run nothing in the pods of {namespace} ({message}): it takes the right to get and create"
            f" `pods/exec`; `kubectl auth can-i create pods --subresource=exec -n {namespace}` tells"
        )
    return message
