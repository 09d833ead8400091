"""The laws of the catalog, each shown to hold for ours and to bite on a broken one."""

import ast
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog import CATALOG, Catalog, problems
from catalog.queues import BATCH_JOBS as BATCH
from catalog.queues import DATA_LAKE as LAKE
from catalog.queues import ML_AUDIT as AUDIT
from catalog.queues import USAGE
from consumers.assembly import WIRING

ROOT = Path(__file__).parents[2]


def with_queue(**changes: Any) -> Catalog:
    return replace(CATALOG, queues=(BATCH, replace(LAKE, **changes), AUDIT, USAGE))


def first(entries: tuple[Any, ...], **changes: Any) -> tuple[Any, ...]:
    return (replace(entries[0], **changes), *entries[1:])


BROKEN: dict[str, tuple[Callable[[], Catalog], str]] = {
    "two queues of one name": (
        lambda: with_queue(name="bi_batch_jobs"),
        (
            "rabbitmq.batch_jobs.queue and rabbitmq.data_lake.queue are both 'bi_batch_jobs': each queue has a name of"
            " its own"
        ),
    ),
    "a queue name the broker keeps for itself": (
        lambda: with_queue(name="amq.lake"),
        (
            "rabbitmq.data_lake.queue is 'amq.lake': a queue name has 1 to 200 letters, digits, '_', '.', '-'"
            " and does not begin with 'amq.'"
        ),
    ),
    "no key": (
        lambda: with_queue(keys=()),
        "rabbitmq.data_lake.bindings is empty: without a key nothing reaches logging_data_lake",
    ),
    "a key twice": (
        lambda: with_queue(keys=("risk.evaluated", "risk.evaluated")),
        "rabbitmq.data_lake.bindings names risk.evaluated 2 times: bind a key once",
    ),
    "a wildcard": (
        lambda: replace(CATALOG, queues=(BATCH, LAKE, replace(AUDIT, keys=("risk.#",)), USAGE)),
        "rabbitmq.ml_audit.bindings has 'risk.#': a key is words joined by '.', without wildcards; name each key",
    ),
    "a key its handler does not know": (
        lambda: with_queue(keys=("llm.inference.completed",)),
        (
            "rabbitmq.data_lake.bindings has 'llm.inference.completed': handler lake knows only risk.evaluated,"
            " ml.prediction.completed, recommendation.feedback.received"
        ),
    ),
    "prefetch 0": (lambda: with_queue(prefetch=0), "rabbitmq.data_lake.prefetch is 0: it is 1 to 300"),
    "a window of one beside another queue": (
        lambda: with_queue(prefetch=1),
        "rabbitmq.data_lake.prefetch is 1: its process consumes logging_ml_audit as well; it is at least 2 there",
    ),
    "a batch worker that hoards": (
        lambda: replace(CATALOG, queues=(replace(BATCH, prefetch=6), LAKE, AUDIT, USAGE)),
        "rabbitmq.batch_jobs.prefetch is 6: it is 1 to 5 (a higher one lets a long job block others)",
    ),
    "impatience": (
        lambda: with_queue(delivery_limit=3),
        (
            "rabbitmq.data_lake: 3 tries, 0:00:10 to 0:01:00 apart, last 0:01:00: an event gets at least 0:15:00"
            " before it is a dead letter; raise the limit or the pauses"
        ),
    ),
    "a promise shorter than one event": (
        lambda: with_queue(drain_within=timedelta(seconds=5)),
        "rabbitmq.data_lake.drain_within is 5s: one event alone may take 30s; promise no less",
    ),
    "a service that is not there": (
        lambda: with_queue(service="lake-house"),
        "rabbitmq.data_lake: service 'lake-house' does not exist: declare it in catalog/services.py",
    ),
    "a handler that is not there": (
        lambda: with_queue(handler="pond"),
        "rabbitmq.data_lake: handler 'pond' does not exist: declare it in catalog/queues.py",
    ),
    "a handler without a queue": (
        lambda: with_queue(handler="audit"),
        "handler lake is used by no queue: remove it or name it in one",
    ),
    "a service without a queue": (
        lambda: replace(CATALOG, queues=(LAKE, AUDIT, USAGE)),
        "service risk-analytics has no queue: a service without work is not deployed; remove it or give it one",
    ),
    "a service that no host can be called": (
        lambda: replace(CATALOG, services=first(CATALOG.services, name="Risk_Analytics")),
        "service 'Risk_Analytics': it is a host's name too, 1 to 40 lower-case letters, digits and, inside, '-'",
    ),
    "a service that was not measured": (
        lambda: replace(CATALOG, services=first(CATALOG.services, rss=0)),
        "service risk-analytics: rss is 0: measure a process under load, in MiB; its limits follow",
    ),
    "too many replicas": (
        lambda: replace(CATALOG, services=first(CATALOG.services, replicas=9)),
        "replicas.risk-analytics is 9: it is 1 to 4 (`most_replicas` in catalog/services.py)",
    ),
    "two services on one port": (
        lambda: replace(CATALOG, services=first(CATALOG.services, port=3014)),
        "port 3014 is declared 2 times: names are unique",
    ),
    "a container nobody declared": (
        lambda: replace(CATALOG, stores=CATALOG.stores[1:]),
        "service risk-analytics uses 'data_lake.container': declare that container in catalog/services.py",
    ),
    "a container nobody uses": (
        lambda: replace(CATALOG, services=first(CATALOG.services, stores=("data_lake.container",))),
        (
            "container cosmos_db.containers.batch_job_runs is used by no service: remove it or name it in a service's"
            " `stores`"
        ),
    ),
    "a blob container in capitals": (
        lambda: replace(CATALOG, stores=first(CATALOG.stores, name="Risk")),
        (
            "data_lake.container is 'Risk': the name of a blob container has 3 to 63 lower-case letters, digits and"
            " single '-'"
        ),
    ),
    "a budget beyond the longest run": (
        lambda: replace(CATALOG, jobs=first(CATALOG.jobs, budget=timedelta(hours=2))),
        (
            "jobs.risk-snapshot-backfill.budget is 7200s: it is more than 0 and at most the longest run of its queue,"
            " 3600s"
        ),
    ),
    "a cron of four fields": (
        lambda: replace(CATALOG, jobs=first(CATALOG.jobs, cron="0 1 * *")),
        "job risk-snapshot-backfill: cron is '0 1 * *': five fields, UTC",
    ),
    "silence without a reason": (
        lambda: replace(CATALOG, signals=first(CATALOG.signals, alert=None)),
        "signal time_to_drain: give it an alert, or say in no_alert why it has none; exactly one of the two",
    ),
    "an alert that explains a stranger": (
        lambda: replace(
            CATALOG, signals=first(CATALOG.signals, alert=replace(CATALOG.alerts[0], explains=("QueueOnFire",)))
        ),
        "alert QueueWillNotDrainInTime explains 'QueueOnFire': no alert has this name",
    ),
    "a metric nobody reads": (
        lambda: replace(CATALOG, signals=tuple(s for s in CATALOG.signals if s.name != "retries")),
        "metric rabbitmq_messages_retried_total is used by no signal: use it, remove it, or say why in `informational`",
    ),
    "a metric nobody declared": (
        lambda: replace(CATALOG, metrics=tuple(m for m in CATALOG.metrics if "retried" not in m.name)),
        "expression uses rabbitmq_messages_retried_total, which is not in catalog/metrics.py: declare it there",
    ),
    "no jobs at all": (
        lambda: replace(CATALOG, jobs=()),
        "catalog.jobs is empty: declare at least one, or every check below it passes unseen",
    ),
}


def test_our_catalog_keeps_every_law() -> None:
    """The defaults have no fault."""
    assert [] == problems(CATALOG)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_law_is_named(case: str) -> None:
    """Each fault is one sentence that names the setting or entry, its value, and what it must be."""
    broken, sentence = BROKEN[case]

    assert sentence in problems(broken())


def test_all_faults_are_reported_at_once() -> None:
    """Two mistakes need one run to be seen, not two."""
    found = problems(with_queue(prefetch=0, keys=()))

    assert len([fault for fault in found if fault.startswith("rabbitmq.data_lake")]) == 2


def modules_below(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in plain + [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]}


def test_the_catalog_imports_only_the_standard_library() -> None:
    """Anything may read the catalog, since it brings nothing with it."""
    foreign = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_below("catalog")
        for name in imports_of(path) - set(sys.stdlib_module_names) - {"catalog"}
    }

    assert len(modules_below("catalog")) > 5
    assert set() == foreign


@pytest.mark.parametrize("forbidden", ["pulumi", "pulumi_kubernetes", "grafanalib", "infra", "dashboards", "alerts"])
def test_consumers_do_not_carry_the_tools_that_deploy_them(forbidden: str) -> None:
    """The image of a consumer holds neither Pulumi nor grafanalib, nor our modules that import them."""
    carrying = [str(path) for path in modules_below("consumers") if forbidden in imports_of(path)]

    assert len(modules_below("consumers")) > 5
    assert [] == carrying


@pytest.mark.parametrize("handler", [handler.name for handler in CATALOG.handlers])
def test_every_handler_has_its_module(handler: str) -> None:
    """A handler named in the catalog is consumers/<name>.py with a `handler` in it."""
    assert hasattr(importlib.import_module(f"consumers.{handler}"), "handler")


def test_every_handler_is_wired_to_its_sinks() -> None:
    """A handler that no process can make would leave its queue without a consumer."""
    assert {handler.name for handler in CATALOG.handlers} == set(WIRING), "wire it in consumers/assembly.py"


@pytest.mark.parametrize("job", CATALOG.jobs, ids=lambda job: job.name)
def test_every_job_has_its_module(job: Any) -> None:
    """A job named in the catalog is consumers/jobs/<name>.py with a `run` in it."""
    assert hasattr(importlib.import_module(f"consumers.jobs.{job.module}"), "run")


def test_every_job_module_has_its_job() -> None:
    """A job module that the catalog does not know would never run."""
    modules = {path.stem for path in modules_below("consumers/jobs") if "\ndef run(" in path.read_text()}

    assert {job.module for job in CATALOG.jobs} == modules, "name each module of consumers/jobs in catalog/jobs.py"


def test_every_key_has_a_sample_and_every_sample_a_reader() -> None:
    """A key without a sample event is untested; a sample that nothing reads is a lie about the system."""
    samples = {path.name.removesuffix(".json") for path in (ROOT / "tests/events").glob("*.json")}
    known = {key for handler in CATALOG.handlers for key in handler.types}
    without_sample = (set(CATALOG.keys) | known) - samples
    without_reader = samples - set(CATALOG.keys) - known

    assert set() == without_sample, f"add tests/events/<key>.json for {sorted(without_sample)}"
    assert set() == without_reader, f"bind these keys to a queue, or remove their samples: {sorted(without_reader)}"
