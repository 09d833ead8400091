"""`python -m catalog`: the resolved catalog as tables for a person."""

import sys
from collections.abc import Sequence

from catalog import CATALOG
from catalog.kinds import Catalog
from catalog.resolve import settings, value_of
from catalog.text import beyond, span
from catalog.text import table as markdown

USAGE = """usage: python -m catalog [TABLE ...]

Prints what is declared, with its defaults. Tables: {tables} (all when none is named).
  python -m catalog queues      each queue with its keys, consumer and limits
  python -m catalog settings    everything a stack may set, with its default"""


def table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return f"## {title}\n{markdown(head, rows)}"


def queues(catalog: Catalog) -> str:
    head = ("queue", "keys", "handler", "service", "prefetch", "tries", "acknowledged within", "drained within")
    return table(
        "Queues",
        head,
        [
            (
                queue.name,
                " ".join(queue.keys),
                queue.handler,
                queue.service,
                str(queue.prefetch),
                str(queue.delivery_limit),
                span(queue.ack_timeout),
                span(queue.drain_within),
            )
            for queue in catalog.queues
        ],
    )


def services(catalog: Catalog) -> str:
    head = ("service", "port", "replicas", "at most", "queues", "ends within")
    return table(
        "Services",
        head,
        [
            (
                service.name,
                str(service.port),
                str(service.replicas),
                str(service.most_replicas),
                " ".join(queue.name for queue in catalog.queues_of(service.name)),
                span(max(queue.grace for queue in catalog.queues_of(service.name))),
            )
            for service in catalog.services
        ],
    )


def jobs(catalog: Catalog) -> str:
    head = ("job", "cron (UTC)", "budget")
    return table("Jobs", head, [(job.name, job.cron, span(job.budget)) for job in catalog.jobs])


def stores(catalog: Catalog) -> str:
    head = ("container", "kind", "partition key", "setting")
    rows = [(store.name, store.kind, store.partition_key or "-", store.setting) for store in catalog.stores]
    return table("Containers", head, rows)


def alerts(catalog: Catalog) -> str:
    head = ("alert", "severity", "asks", "beyond", "for")
    rows = [
        (
            alert.name,
            alert.severity,
            signal.question,
            ", ".join(f"{entry.name} {beyond(alert, entry, signal.unit)}" for entry in catalog.entries(signal)),
            span(alert.hold),
        )
        for signal, alert in catalog.alerting
    ]
    return table("Alerts", head, rows)


def all_settings(catalog: Catalog) -> str:
    head = ("setting", "default")
    rows = [(setting.key, setting.write(value_of(catalog, setting))) for setting in settings(catalog).values()]
    return table("Settings", head, rows)


TABLES = {
    "queues": queues,
    "services": services,
    "jobs": jobs,
    "containers": stores,
    "alerts": alerts,
    "settings": all_settings,
}


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in TABLES]:
        asked_for_help = bool({"-h", "--help"} & set(names))
        print(USAGE.format(tables=", ".join(TABLES)), file=sys.stdout if asked_for_help else sys.stderr)
        if not asked_for_help:
            print(f"\nno such table: {', '.join(unknown)}", file=sys.stderr)
        return 0 if asked_for_help else 2
    print("\n\n".join(TABLES[name](CATALOG) for name in names or TABLES))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
