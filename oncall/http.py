"""The three servers that answer over HTTP: the broker's management API, Prometheus and Alertmanager."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from oncall.endpoints import Endpoints
from oncall.trouble import Trouble

TIMEOUT = 5  # seconds


@dataclass(frozen=True)
class Firing:
    """An alert as Prometheus or Alertmanager tells it; `since` is an ISO time, `state` firing, pending or silenced."""

    name: str
    state: str
    since: str
    labels: Mapping[str, str]
    summary: str

    @property
    def entry(self) -> str:
        """The queue, job or service it is about."""
        return next((self.labels[label] for label in ("queue", "job_name", "service") if label in self.labels), "")


class Prometheus:
    def __init__(self, endpoints: Endpoints) -> None:
        self._url = endpoints.prometheus

    def value(self, expression: str) -> float | None:
        """The largest value of an instant query, None when there is no data."""
        rows = self._get("query", query=expression)["result"]
        values = [float(row["value"][1]) for row in rows]
        return max((value for value in values if math.isfinite(value)), default=None)

    def alerts(self) -> list[Firing]:
        """Alerts that fire or are about to."""
        return [
            Firing(
                alert["labels"]["alertname"],
                alert["state"],
                alert["activeAt"],
                alert["labels"],
                alert["annotations"].get("summary", ""),
            )
            for alert in self._get("alerts")["alerts"]
        ]

    def _get(self, path: str, **query: str) -> Any:
        return _get("Prometheus", f"{self._url}/api/v1/{path}", query)["data"]


class Alertmanager:
    def __init__(self, endpoints: Endpoints) -> None:
        self._url = endpoints.alertmanager

    def alerts(self) -> list[Firing]:
        """Alerts that fire; those that a silence or another alert keeps quiet are "silenced"."""
        return [
            Firing(
                alert["labels"]["alertname"],
                "firing" if alert["status"]["state"] == "active" else "silenced",
                alert["startsAt"],
                alert["labels"],
                alert["annotations"].get("summary", ""),
            )
            for alert in _get("Alertmanager", f"{self._url}/api/v2/alerts", {})
        ]


class Management:
    def __init__(self, endpoints: Endpoints) -> None:
        self._login, self._vhost, self._file = endpoints.management, quote(endpoints.vhost, safe=""), endpoints.file

    def queues(self) -> dict[str, dict[str, Any]]:
        """Every queue of the virtual host by name, with its policy in effect and, up to 5 s old, what it holds."""
        # Without this switch a policy is shown as it was up to 10 s ago.
        rows = self._get(f"queues/{self._vhost}", disable_stats="true", enable_queue_totals="true")
        return {row["name"]: row for row in rows}

    def consumers(self) -> Counter[str]:
        """How many consumers each queue has, up to 5 s old."""
        return Counter(row["queue"]["name"] for row in self._get(f"consumers/{self._vhost}"))

    def _get(self, path: str, **query: str) -> Any:
        login = self._login
        return _get(
            "RabbitMQ's management API",
            f"{login.url}/api/{path}",
            query,
            auth=(login.user, login.password),
            refused=f"the password of {login.user!r} in {self._file} is not the broker's: `make up` writes it anew",
        )


def ready(url: str) -> str:
    """Why a replica is not ready, in its own words; empty when it is."""
    try:
        answer = requests.get(f"{url}/health/ready", timeout=TIMEOUT)
    except requests.RequestException as error:
        return f"{url} does not answer ({_cause(error)})"
    if answer.ok:
        return ""
    queues = answer.json().get("queues", {}) if "json" in answer.headers.get("Content-Type", "") else {}
    reasons = [f"{queue}: {reason}" for queue, reason in queues.items() if reason != "consuming"]
    return "; ".join(reasons) or f"{url} answers {answer.status_code}"


def _get(what: str, url: str, query: Mapping[str, str], auth: tuple[str, str] | None = None, refused: str = "") -> Any:
    """The JSON at an address. Raises Trouble naming `what`; `refused` is what to do about a 401."""
    server = "/".join(url.split("/")[:3])
    try:
        answer = requests.get(url, params=query, auth=auth, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise Trouble(
            f"{what} at {server} does not answer ({_cause(error)}): is it running? `make up` starts what is down"
        ) from None
    if answer.status_code == 401:
        raise Trouble(f"{what} at {server} refuses us: {refused or 'see its configuration'}")
    if not answer.ok:
        raise Trouble(f"{what} at {server} answers {answer.status_code} to {url}: {answer.text.strip()[:300]}")
    try:
        return answer.json()
    except requests.JSONDecodeError:
        raise Trouble(f"{what} at {server} does not answer in JSON: does something else listen there?") from None


def _cause(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    return "connection refused" if "refused" in str(error) else type(error).__name__
