"""Between Prometheus and people: which alerts wake somebody, which wait for the morning, which say nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import yaml

from catalog.kinds import Catalog, Severity

REPEAT: Mapping[Severity, str] = {"page": "1h", "ticket": "1d"}


def config(catalog: Catalog, webhooks: Mapping[Severity, str] | None = None) -> str:
    """alertmanager.yml; a severity without a webhook URL is shown by Alertmanager and sent to nobody."""
    severities: tuple[Severity, ...] = get_args(Severity)
    tree = {
        "route": {
            "receiver": "ticket",
            "group_by": ["alertname", "queue"],
            "group_wait": "30s",
            "group_interval": "5m",
            "routes": [
                {"receiver": severity, "matchers": [f'severity="{severity}"'], "repeat_interval": REPEAT[severity]}
                for severity in severities
            ],
        },
        "receivers": [receiver(severity, (webhooks or {}).get(severity)) for severity in severities],
        "inhibit_rules": inhibitions(catalog),
    }
    return yaml.safe_dump(tree, sort_keys=False)


def receiver(severity: Severity, webhook: str | None) -> dict[str, Any]:
    hooks = {"webhook_configs": [{"url": webhook}]} if webhook else {}
    return {"name": severity, **hooks}


def inhibitions(catalog: Catalog) -> list[dict[str, Any]]:
    """An alert silences those it explains, for the same queue (alerts without a queue share their service)."""
    return [
        {
            "source_matchers": [f'alertname="{alert.name}"'],
            "target_matchers": [f'alertname=~"{"|".join(alert.explains)}"'],
            "equal": ["service", "queue"],
        }
        for alert in catalog.alerts
        if alert.explains
    ]
