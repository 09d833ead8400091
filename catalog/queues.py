"""The exchange, the queues that listen to it, and the handlers that empty them."""

from datetime import timedelta

from catalog.kinds import Exchange, Handler, Queue

EXCHANGE = Exchange(name="coder_events")

# Two tries are at least 10 s apart, so that 20 of them outlast a quarter of an hour of trouble in a sink.
COLLECTOR_RETRY = (timedelta(seconds=10), timedelta(seconds=60))

BATCH_JOBS = Queue(
    setting="rabbitmq.batch_jobs",
    keys_setting="rabbitmq.batch_jobs.routing_keys",
    name="bi_batch_jobs",
    keys=("workflow.job.trigger",),
    handler="batch",
    service="risk-analytics",
    prefetch=1,
    prefetch_max=5,
    delivery_limit=100,  # a run's attempts are kept in its ledger; the broker's count only has to be out of the way
    retry=(timedelta(seconds=30), timedelta(minutes=5)),
    longest_run=timedelta(hours=1),
    drain_within=timedelta(hours=4),
)

DATA_LAKE = Queue(
    setting="rabbitmq.data_lake",
    name="logging_data_lake",
    keys=("risk.evaluated",),
    handler="lake",
    service="logging",
    prefetch=10,
    prefetch_max=300,
    delivery_limit=20,
    retry=COLLECTOR_RETRY,
    longest_run=timedelta(seconds=30),
    drain_within=timedelta(minutes=15),
)

ML_AUDIT = Queue(
    setting="rabbitmq.ml_audit",
    name="logging_ml_audit",
    keys=(
        "hitl.approval.completed",
        "hitl.approval.requested",
        "ml.model.drift.detected",
        "ml.model.performance.degraded",
        "ml.prediction.completed",
        "remediation.workflow.completed",
        "risk.evaluated",
        "risk.prediction.generated",
    ),
    handler="audit",
    service="logging",
    prefetch=10,
    prefetch_max=300,
    delivery_limit=20,
    retry=COLLECTOR_RETRY,
    longest_run=timedelta(seconds=30),
    drain_within=timedelta(minutes=30),
)

USAGE = Queue(
    setting="rabbitmq.usage",
    keys_setting="rabbitmq.bindings",
    name="analytics_service",
    keys=("embedding.generated", "llm.inference.completed", "ml.prediction.completed"),
    handler="usage",
    service="analytics-service",
    prefetch=10,
    prefetch_max=300,
    delivery_limit=20,
    retry=COLLECTOR_RETRY,
    longest_run=timedelta(seconds=30),
    drain_within=timedelta(minutes=30),
)

QUEUES = (BATCH_JOBS, DATA_LAKE, ML_AUDIT, USAGE)

HANDLERS = (
    Handler(name="batch", types=("workflow.job.trigger",)),
    Handler(name="lake", types=("risk.evaluated", "ml.prediction.completed", "recommendation.feedback.received")),
    Handler(name="audit"),
    Handler(name="usage", types=("ml.prediction.completed", "llm.inference.completed", "embedding.generated")),
)
