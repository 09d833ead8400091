"""What is fixed from outside: names that producers publish, readers read and people on call know.

Typed here a second time on purpose: whoever removes or renames an entry of the catalog is told whom it would hurt.
"""

from catalog import CATALOG

QUEUES = {
    "bi_batch_jobs": ("risk-analytics", "batch", {"workflow.job.trigger"}),
    "logging_data_lake": ("logging", "lake", {"risk.evaluated"}),
    "logging_ml_audit": (
        "logging",
        "audit",
        {
            "risk.evaluated",
            "risk.prediction.generated",
            "ml.prediction.completed",
            "remediation.workflow.completed",
            "hitl.approval.requested",
            "hitl.approval.completed",
            "ml.model.drift.detected",
            "ml.model.performance.degraded",
        },
    ),
    "analytics_service": (
        "analytics-service",
        "usage",
        {"ml.prediction.completed", "llm.inference.completed", "embedding.generated"},
    ),
}
PORTS = {"risk-analytics": 3048, "logging": 3014, "analytics-service": 3030}
PREFETCH = {"bi_batch_jobs": 1, "logging_data_lake": 10, "logging_ml_audit": 10, "analytics_service": 10}
CONTAINERS = {
    "risk": "",
    "analytics_usage_ml": "/tenantId",
    "risk_snapshots": "/tenantId",
    "batch_job_runs": "/job",
}
JOBS = {"risk-snapshot-backfill": "0 1 * * 0"}
LAKE_TYPES = {"risk.evaluated", "ml.prediction.completed", "recommendation.feedback.received"}
METRICS = {
    "rabbitmq_messages_consumed_total": ("queue",),
    "batch_job_duration_seconds": ("job_name",),
    "batch_job_triggers_total": ("batch_job",),
    "consumer_startup_seconds": (),  # `make up` shows it
    "up": (),  # Prometheus makes it of every scrape
}
SIGNALS = {
    "arrivals",
    "batch_consumption",
    "consumers",
    "consumption",
    "cpu",
    "dead_letters",
    "depth",
    "duplicates",
    "paused",
    "suspects",
    "handling_time",
    "job_duration_p99",
    "job_failures",
    "job_running",
    "job_runs",
    "job_triggers",
    "memory",
    "oldest_event_age",
    "rejections",
    "replicas",
    "retries",
    "scheduler_health",
    "time_to_drain",
}
ALERTS = {
    "DeadLettersWaiting",
    "JobFailed",
    "JobOverBudget",
    "OldestEventTooOld",
    "QueueWillNotDrainInTime",
    "QueueWithoutConsumer",
}


def test_queues_their_service_handler_and_keys() -> None:
    """Producers publish these keys, and these services have to see them."""
    ours = {q.name: (q.service, q.handler, set(q.keys)) for q in CATALOG.queues if q.name in QUEUES}

    assert ours == QUEUES, "a queue, its service, handler or keys differ from the contract: producers rely on them"


def test_the_exchange_is_the_shared_one() -> None:
    """Everybody publishes to it."""
    assert CATALOG.exchange.name == "coder_events"


def test_ports_and_prefetch() -> None:
    """Scrape configurations and people know the ports; the runbook gives the prefetch."""
    assert {s.name: s.port for s in CATALOG.services} == PORTS, "services keep their ports"
    ours = {q.name: q.prefetch for q in CATALOG.queues if q.name in PREFETCH}

    assert ours == PREFETCH, "the default prefetch is the runbook's"


def test_containers_and_partition_keys() -> None:
    """Readers query by these partition keys."""
    assert CATALOG.database == "castiel"
    assert {s.name: s.partition_key for s in CATALOG.stores} == CONTAINERS, "readers need these containers"


def test_jobs_and_schedules() -> None:
    """Triggers name these jobs, and people expect them at these times."""
    assert {job.name: job.cron for job in CATALOG.jobs} == JOBS, "a job or its schedule differs from the contract"


def test_types_the_lake_handler_knows() -> None:
    """A stack may bind any of them."""
    assert set(CATALOG.handler("lake").types) == LAKE_TYPES, "the lake has a table for each of these types"


def test_metrics_that_dashboards_use_already() -> None:
    """Names and labels stay as they are known."""
    ours = {metric.name: metric.labels for metric in CATALOG.metrics if metric.name in METRICS}

    assert ours == METRICS, "dashboards of other teams read these metrics"


def test_signals_and_alerts() -> None:
    """A question that was answered yesterday is answered tomorrow: remove one here, with a reason, first."""
    assert {signal.name for signal in CATALOG.signals} == SIGNALS, "a signal was added or removed: name it here too"
    assert {alert.name for alert in CATALOG.alerts} == ALERTS, "an alert was added or removed: name it here too"
