"""Every metric: what our consumers emit, and the broker and Prometheus series that signals read."""

from catalog.kinds import Metric

# Emitted by the consumers; the first six names are known to dashboards and people of old.
CONSUMED = Metric(
    name="rabbitmq_messages_consumed_total",
    kind="counter",
    labels=("queue",),
    help="Events acknowledged after their write was confirmed",
)
JOB_DURATION = Metric(
    name="batch_job_duration_seconds",
    kind="histogram",
    labels=("job_name",),
    help="How long a finished run took",
)
JOB_TRIGGERS = Metric(
    name="batch_job_triggers_total",
    kind="counter",
    labels=("batch_job",),
    help="Triggers received, redeliveries left out",
)
JOB_RUNS = Metric(
    name="batch_job_runs_total",
    kind="counter",
    labels=("job_name", "status"),
    help="Runs ended, by status completed or failed",
)
JOB_RUNNING = Metric(
    name="batch_job_running_seconds",
    kind="gauge",
    labels=("job_name",),
    help="Age of the run in progress, 0 when there is none",
)
SCHEDULER_TICK = Metric(
    name="batch_scheduler_tick_timestamp_seconds",
    kind="gauge",
    help="When the scheduler last looked at its clock (Unix time)",
)
DUPLICATES = Metric(
    name="rabbitmq_messages_duplicate_total",
    kind="counter",
    labels=("queue",),
    help="Consumed events whose write was found to be there already",
)
REJECTED = Metric(
    name="rabbitmq_messages_rejected_total",
    kind="counter",
    labels=("queue", "reason"),
    help="Events published to the dead letters because they can never succeed",
)
RETRIED = Metric(
    name="rabbitmq_messages_retried_total",
    kind="counter",
    labels=("queue", "reason"),
    help="Deliveries given back to the broker for another try",
)
SUSPECTS = Metric(
    name="rabbitmq_messages_suspect_total",
    kind="counter",
    labels=("queue",),
    help="Deliveries handled alone, since they were in hand when a process or a connection ended",
)
PAUSED = Metric(
    name="consumer_paused",
    kind="gauge",
    labels=("queue",),
    help="1 while nothing is taken because the sink is down or somebody paused it, else 0",
)
HANDLING = Metric(
    name="event_handling_seconds",
    kind="histogram",
    labels=("queue",),
    help="From delivery to verdict",
)
OLDEST = Metric(
    name="event_oldest_age_seconds",
    kind="gauge",
    labels=("queue",),
    help="Age, by its own timestamp, of the oldest event in hand; 0 when there is none",
)
SLOTS = Metric(
    name="consumer_prefetch",
    kind="gauge",
    labels=("queue",),
    help="Events that a process takes in hand at once",
)
STARTUP = Metric(
    name="consumer_startup_seconds",
    kind="gauge",
    help="From process start to the first queue being consumed",
    informational="a start-up time is looked at when it is changed; `make up` prints it",
)
CPU = Metric(
    name="process_cpu_seconds_total",
    kind="counter",
    help="CPU time used (from the client library's process collector)",
)
MEMORY = Metric(
    name="process_resident_memory_bytes",
    kind="gauge",
    help="Resident memory (from the client library's process collector)",
)

# Read from RabbitMQ: /metrics/detailed with the families in BROKER_FAMILIES.
BROKER_FAMILIES = (
    "queue_coarse_metrics",
    "queue_consumer_count",
    "queue_exchange_metrics",
    "queue_delivery_metrics",
)
READY = Metric(
    name="rabbitmq_detailed_queue_messages_ready",
    kind="gauge",
    labels=("queue",),
    source="broker",
    help="Messages that wait for a consumer",
)
UNACKED = Metric(
    name="rabbitmq_detailed_queue_messages_unacked",
    kind="gauge",
    labels=("queue",),
    source="broker",
    help="Messages in the hands of consumers",
)
CONSUMERS = Metric(
    name="rabbitmq_detailed_queue_consumers",
    kind="gauge",
    labels=("queue",),
    source="broker",
    help="Consumers of the queue",
)
PUBLISHED = Metric(
    name="rabbitmq_detailed_queue_exchange_messages_published_total",
    kind="counter",
    labels=("queue", "exchange"),
    source="broker",
    help="Messages that an exchange routed into the queue",
)
SETTLED = Metric(
    name="rabbitmq_detailed_queue_messages_acked_total",
    kind="counter",
    labels=("queue",),
    source="broker",
    help="Messages acknowledged by consumers",
)
UP = Metric(name="up", kind="gauge", source="prometheus", help="Whether the last scrape of a process succeeded")

METRICS = (
    CONSUMED,
    JOB_DURATION,
    JOB_TRIGGERS,
    JOB_RUNS,
    JOB_RUNNING,
    SCHEDULER_TICK,
    DUPLICATES,
    REJECTED,
    RETRIED,
    SUSPECTS,
    PAUSED,
    HANDLING,
    OLDEST,
    SLOTS,
    STARTUP,
    CPU,
    MEMORY,
    READY,
    UNACKED,
    CONSUMERS,
    PUBLISHED,
    SETTLED,
    UP,
)
