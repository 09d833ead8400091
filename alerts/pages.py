"""Between the catalog and the runbooks: the tables that stand in a page between `generated` markers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from catalog.kinds import Alert, Catalog, Signal
from catalog.picture import picture
from catalog.text import beyond, span, table

# What a page calls by one word, on both targets; runbooks/README.md sets the variables.
PODS = "--namespace $NAMESPACE --selector app.kubernetes.io"
WAYS = (
    (
        "look",
        "`oncall status`",
        f"`kubectl get pods {PODS}/part-of=consumer-scaling`; why: `kubectl describe pods {PODS}/name=SERVICE`",
    ),
    ("logs", "`cat .local/logs/SERVICE-*.log`", f"`kubectl logs {PODS}/name=SERVICE --prefix --since=1h --tail=-1`"),
    (
        "broker's log",
        "`tail -50 .local/logs/rabbitmq.log`",
        "`kubectl logs --namespace $BROKER_NAMESPACE --selector app.kubernetes.io/component=rabbitmq --tail=50`",
    ),
    ("apply", "`make up`", "`pulumi up --diff --stack $STACK`"),
    (
        "set",
        "`tools/pulumi config set SETTING VALUE --stack local`, then apply",
        "`pulumi config set SETTING VALUE --stack $STACK`, commit it, then apply",
    ),
    (
        "restart",
        "`.venv/bin/supervisorctl -s unix://$PWD/.local/supervisor.sock restart SERVICE-0`",
        (
            "`kubectl rollout restart deployment/SERVICE --namespace $NAMESPACE`;"
            " one replica: `kubectl delete pod POD --namespace $NAMESPACE`"
        ),
    ),
    ("roll back", "`git checkout COMMIT`, the one before, then apply", "the same"),
)

FOLDER = Path(__file__).parents[1] / "runbooks"
PASSAGE = re.compile(r"(<!-- generated: (?P<name>.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


class UnknownPassage(ValueError):
    """A page asks for a table that nothing makes."""


def filled(text: str, passages: Mapping[str, str]) -> str:
    """A page with each generated passage replaced, {name: Markdown}. Raises UnknownPassage."""

    def replaced(match: re.Match[str]) -> str:
        if match["name"] not in passages:
            raise UnknownPassage(f"no passage is called {match['name']!r}: there are {', '.join(sorted(passages))}")
        return f"{match[1]}{passages[match['name']]}\n{match[3]}"

    return PASSAGE.sub(replaced, text)


def passages(catalog: Catalog) -> dict[str, str]:
    """Every table that a page may hold, by name."""
    limits = {f"limits of {alert.name}": limits_of(catalog, signal, alert) for signal, alert in catalog.alerting}
    return {
        "consumers": consumers(catalog),
        "flow": f"```mermaid\n{picture(catalog)}\n```",
        "index": index(catalog),
        "jobs": jobs(catalog),
        "queues": queues(catalog),
        "services": services(catalog),
        "ways": ways(),
        **limits,
    }


def consumers(catalog: Catalog) -> str:
    """Who reads what, for somebody who sees the project for the first time."""
    rows = [
        (
            f"`{queue.name}`",
            f"`{queue.service}` / `{queue.handler}`",
            " ".join(f"`{key}`" for key in queue.keys),
            str(queue.prefetch),
            span(queue.drain_within),
        )
        for queue in catalog.queues
    ]
    return table(("queue", "service / handler", "keys", "prefetch", "a backlog is gone within"), rows)


def index(catalog: Catalog) -> str:
    rows = [(f"[{alert.name}]({alert.name}.md)", alert.severity, signal.question) for signal, alert in catalog.alerting]
    return table(("alert", "severity", "asks"), rows)


def limits_of(catalog: Catalog, signal: Signal, alert: Alert) -> str:
    """Where an alert begins for each queue, service or job."""
    rows = [
        (f"`{entry.name}`", beyond(alert, entry, signal.unit), span(alert.hold)) for entry in catalog.entries(signal)
    ]
    return table((signal.per, "fires", "for at least"), rows)


def services(catalog: Catalog) -> str:
    rows = [
        (
            f"`{service.name}`",
            " ".join(f"`{queue.name}`" for queue in catalog.queues_of(service.name)),
            f"`replicas.{service.name}`",
            str(service.replicas),
            str(service.most_replicas),
            f"{service.sink_rate:g}/s",
        )
        for service in catalog.services
    ]
    return table(("service", "queues", "setting", "default", "at most", "its sink takes"), rows)


def queues(catalog: Catalog) -> str:
    rows = [
        (
            f"`{queue.name}`",
            f"`{queue.service}`",
            f"`{queue.setting}.prefetch`",
            f"{queue.prefetch} (1 to {queue.prefetch_max})",
            span(queue.drain_within),
        )
        for queue in catalog.queues
    ]
    return table(("queue", "service", "setting", "prefetch", "a backlog is gone within"), rows)


def jobs(catalog: Catalog) -> str:
    rows = [(f"`{job.name}`", f"`{job.cron}`", span(job.budget)) for job in catalog.jobs]
    return table(("job", "due (cron, UTC)", "budget"), rows)


def ways() -> str:
    """How a step is typed, for a reader whom an alert of either target woke."""
    rows = [(f"**{word}**", here, there) for word, here, there in WAYS]
    return table(("step", "on this machine", "on Kubernetes ([set-up](README.md#before-the-first-command))"), rows)
