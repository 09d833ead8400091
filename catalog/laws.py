"""What must hold of a catalog, checked all at once: by tests on the defaults, by `resolve` on every stack."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from catalog.kinds import Alert, Catalog, Job, Queue, Service, Signal, Store
from catalog.sizing import records

# A single event is tried at least this long before it becomes a dead letter.
PATIENCE = timedelta(minutes=15)
NAME = re.compile(r"(?!amq\.)[A-Za-z0-9_.-]{1,200}")
KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# Azure, naming containers: those of blobs are stricter than those of documents.
CONTAINER = {
    "blob": (re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*"), "lower-case letters, digits and single '-'"),
    "cosmos": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,62}"), "letters, digits, '_' and '-'"),
}
DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # Kubernetes allows 63, and our objects add to it
CRON = re.compile(r"(\S+\s+){4}\S+")
CAMEL = re.compile(r"([A-Z][a-z0-9]+)+")


def problems(catalog: Catalog) -> list[str]:
    """Every fault of a catalog as one sentence that names the setting or entry, its value, and what it must be."""
    return [
        *_emptiness(catalog),
        *_alike("queue", [(f"{queue.setting}.queue", queue.name) for queue in catalog.queues] + _dead_queues(catalog)),
        *_twice("service", [service.name for service in catalog.services]),
        *_twice("port", [str(service.port) for service in catalog.services]),
        *_twice("job", [job.name for job in catalog.jobs]),
        *_alike("container", [(store.setting, store.name) for store in catalog.stores]),
        *_twice("metric", [metric.name for metric in catalog.metrics]),
        *_twice("signal", [signal.name for signal in catalog.signals]),
        *_twice("alert", [alert.name for alert in catalog.alerts]),
        *(fault for queue in catalog.queues for fault in _of_queue(catalog, queue)),
        *(fault for service in catalog.services for fault in _of_service(catalog, service)),
        *(fault for job in catalog.jobs for fault in _of_job(catalog, job)),
        *(fault for store in catalog.stores for fault in _of_store(catalog, store)),
        *(fault for signal in catalog.signals for fault in _of_signal(catalog, signal)),
        *_of_handlers(catalog),
        *_of_metrics(catalog),
    ]


def _emptiness(catalog: Catalog) -> Iterator[str]:
    for kind in ("queues", "handlers", "services", "jobs", "stores", "metrics", "signals"):
        if not getattr(catalog, kind):
            yield f"catalog.{kind} is empty: declare at least one, or every check below it passes unseen"


def _twice(kind: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{kind} {name} is declared {count} times: names are unique"


def _alike(kind: str, named: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One sentence for each name that several settings give, [(setting, name)]."""
    settings: dict[str, list[str]] = {}
    for setting, name in named:
        settings.setdefault(name, []).append(setting)
    for name, givers in settings.items():
        if len(givers) > 1:
            yield f"{' and '.join(givers)} are both {name!r}: each {kind} has a name of its own"


def _dead_queues(catalog: Catalog) -> list[tuple[str, str]]:
    return [(f"the dead letters of {queue.name}", queue.dead) for queue in catalog.queues]


def _of_queue(catalog: Catalog, queue: Queue) -> Iterator[str]:
    if not NAME.fullmatch(queue.name):
        yield (
            f"{queue.setting}.queue is {queue.name!r}: a queue name has 1 to 200 letters, digits, '_', '.', '-'"
            " and does not begin with 'amq.'"
        )
    if queue.service not in {service.name for service in catalog.services}:
        yield f"{queue.setting}: service {queue.service!r} does not exist: declare it in catalog/services.py"
    yield from _of_keys(queue)
    yield from _of_limits(queue)
    yield from _keys_unknown_to_handler(catalog, queue)


def _of_keys(queue: Queue) -> Iterator[str]:
    if not queue.keys:
        yield f"{queue.bindings} is empty: without a key nothing reaches {queue.name}"
    for key, count in Counter(queue.keys).items():
        if count > 1:
            yield f"{queue.bindings} names {key} {count} times: bind a key once"
        if not KEY.fullmatch(key):
            yield f"{queue.bindings} has {key!r}: a key is words joined by '.', without wildcards; name each key"


def _of_limits(queue: Queue) -> Iterator[str]:
    if not 1 <= queue.prefetch <= queue.prefetch_max:
        why = " (a higher one lets a long job block others)" if queue.slow else ""
        yield f"{queue.setting}.prefetch is {queue.prefetch}: it is 1 to {queue.prefetch_max}{why}"
    if queue.patience < PATIENCE:
        yield (
            f"{queue.setting}: {queue.delivery_limit} tries, {queue.retry[0]} to {queue.retry[1]} apart, last"
            f" {queue.patience}: an event gets at least {PATIENCE} before it is a dead letter; raise the limit or the"
            " pauses"
        )
    if queue.drain_within < queue.longest_run:
        yield (
            f"{queue.setting}.drain_within is {_text(queue.drain_within)}: one event alone may take"
            f" {_text(queue.longest_run)}; promise no less"
        )


def _keys_unknown_to_handler(catalog: Catalog, queue: Queue) -> Iterator[str]:
    handlers = {handler.name: handler for handler in catalog.handlers}
    if queue.handler not in handlers:
        yield f"{queue.setting}: handler {queue.handler!r} does not exist: declare it in catalog/queues.py"
    elif types := handlers[queue.handler].types:
        for key in sorted(set(queue.keys) - set(types)):
            yield f"{queue.bindings} has {key!r}: handler {queue.handler} knows only {', '.join(types)}"


def _of_service(catalog: Catalog, service: Service) -> Iterator[str]:
    if not DNS_LABEL.fullmatch(service.name):
        yield f"service {service.name!r}: it is a host's name too, 1 to 40 lower-case letters, digits and, inside, '-'"
    if service.rss < 1:
        yield f"service {service.name}: rss is {service.rss}: measure a process under load, in MiB; its limits follow"
    if not catalog.queues_of(service.name):
        yield f"service {service.name} has no queue: a service without work is not deployed; remove it or give it one"
    yield from _of_suspects(catalog.queues_of(service.name))
    for unknown in sorted(set(service.stores) - {store.setting for store in catalog.stores}):
        yield f"service {service.name} uses {unknown!r}: declare that container in catalog/services.py"
    if not 1 <= service.replicas <= service.most_replicas:
        yield (
            f"replicas.{service.name} is {service.replicas}: it is 1 to {service.most_replicas}"
            " (`most_replicas` in catalog/services.py)"
        )


def _of_suspects(queues: tuple[Queue, ...]) -> Iterator[str]:
    """What kills a process is told by handling it alone; a window of one never asks the other queues to wait."""
    for queue in queues:
        if queue.prefetch == 1 and len(queues) > 1:
            others = ", ".join(other.name for other in queues if other is not queue)
            yield f"{queue.setting}.prefetch is 1: its process consumes {others} as well; it is at least 2 there"


def _of_job(catalog: Catalog, job: Job) -> Iterator[str]:
    if not CRON.fullmatch(job.cron):
        yield f"job {job.name}: cron is {job.cron!r}: five fields, UTC"
    longest = max((queue.longest_run for queue in catalog.queues if queue.handler == "batch"), default=timedelta())
    if not timedelta() < job.budget <= longest:
        yield (
            f"jobs.{job.name}.budget is {_text(job.budget)}: it is more than 0 and at most the longest run of its"
            f" queue, {_text(longest)}"
        )


def _of_store(catalog: Catalog, store: Store) -> Iterator[str]:
    if store.setting not in {setting for service in catalog.services for setting in service.stores}:
        yield f"container {store.setting} is used by no service: remove it or name it in a service's `stores`"
    pattern, allowed = CONTAINER[store.kind]
    if not pattern.fullmatch(store.name):
        yield f"{store.setting} is {store.name!r}: the name of a {store.kind} container has 3 to 63 {allowed}"


def _of_signal(catalog: Catalog, signal: Signal) -> Iterator[str]:
    if bool(signal.alert) == bool(signal.no_alert):
        yield f"signal {signal.name}: give it an alert, or say in no_alert why it has none; exactly one of the two"
    if not catalog.entries(signal):
        yield f"signal {signal.name} is asked about nothing: no {signal.per} matches its `only`"
    if signal.alert:
        yield from _of_alert(catalog, signal.alert)


def _of_alert(catalog: Catalog, alert: Alert) -> Iterator[str]:
    if not CAMEL.fullmatch(alert.name):
        yield f"alert {alert.name!r}: alert names are CamelCase, since pages are files of that name"
    if bool(alert.above) == bool(alert.below):
        yield f"alert {alert.name}: give exactly one of `above` and `below`"
    for unknown in sorted(set(alert.explains) - {other.name for other in catalog.alerts}):
        yield f"alert {alert.name} explains {unknown!r}: no alert has this name"


def _of_handlers(catalog: Catalog) -> Iterator[str]:
    for unused in sorted({handler.name for handler in catalog.handlers} - {queue.handler for queue in catalog.queues}):
        yield f"handler {unused} is used by no queue: remove it or name it in one"


def _of_metrics(catalog: Catalog) -> Iterator[str]:
    words = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", " ".join(_expressions(catalog))))
    for metric in catalog.metrics:
        used = bool(words.intersection(metric.series))
        if used and metric.informational:
            yield f"metric {metric.name} is used by a signal: its `informational` reason is out of date, remove it"
        if not used and not metric.informational:
            yield f"metric {metric.name} is used by no signal: use it, remove it, or say why in `informational`"
    known = {name for metric in catalog.metrics for name in metric.series}
    for name in sorted(
        word
        for word in words
        if re.search(r"_(total|seconds|bytes|ready|unacked|consumers)(_sum|_count|_bucket)?$", word)
    ):
        if name not in known:
            yield f"expression uses {name}, which is not in catalog/metrics.py: declare it there"


def _expressions(catalog: Catalog) -> Iterator[str]:
    for signal in catalog.signals:
        for entry in catalog.entries(signal):
            yield signal.expr(entry)
    for record in records(catalog):
        yield record.expr


def _text(duration: timedelta) -> str:
    return f"{duration.total_seconds():g}s"
