"""Between the catalog and Prometheus: what it scrapes, as the text of its configuration; pure."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from catalog.kinds import Catalog
from catalog.metrics import BROKER_FAMILIES
from tools.servers import LOOPBACK

INTERVAL = "5s"  # the broker refreshes what it tells every 5 s


def prometheus(catalog: Catalog, *, broker: str, alertmanager: str, folder: Path) -> str:
    """prometheus.yml: a job per service, found through files in `folder`/targets, and the broker's per-queue series."""
    services = [
        {"job_name": service.name, "file_sd_configs": [{"files": [str(folder / f"targets/{service.name}.json")]}]}
        for service in catalog.services
    ]
    queues = {
        "job_name": "rabbitmq",
        "metrics_path": "/metrics/detailed",
        "params": {"family": list(BROKER_FAMILIES)},
        "static_configs": [{"targets": [broker]}],
    }
    config = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [queues, *services],
    }
    return yaml.safe_dump(config, sort_keys=False)


def targets(ports: list[int]) -> str:
    """The file through which Prometheus finds a service's replicas; read again whenever it changes."""
    return json.dumps([{"targets": [f"{LOOPBACK}:{port}" for port in ports]}], indent=2)
