"""Every signal: the question a person asks, its expression, its panel, and the alert that asks it at night."""

from datetime import timedelta

from catalog.kinds import Alert, Queue, Service, Signal
from catalog.metrics import (
    CONSUMED,
    CONSUMERS,
    CPU,
    DUPLICATES,
    JOB_DURATION,
    JOB_RUNNING,
    JOB_RUNS,
    JOB_TRIGGERS,
    MEMORY,
    OLDEST,
    PUBLISHED,
    READY,
    REJECTED,
    RETRIED,
    SCHEDULER_TICK,
    SETTLED,
    UNACKED,
    UP,
)
from catalog.sizing import REQUIRED, handling_time, mean_handling_time, rate

# Rows of the board, from the question asked first to the one asked last.
KEEPING_UP, JOBS, FAILURES, CONSUMERS_ROW = "Is each queue keeping up?", "Jobs", "Failures", "Consumers"


def time_to_drain(queue: Queue) -> str:
    """Seconds until the queue is empty at the present pace.

    What arrived within the last minute is no backlog. Where runs are few and long, rates are zero most of the time:
    there the work in flight and the time of a typical run are used.
    """
    ready = f"sum({READY.at(queue=queue.name)})"
    if queue.slow:
        slots = f"clamp_min(sum({CONSUMERS.at(queue=queue.name)}) * {queue.prefetch}, 1)"
        return f"({ready} + sum({UNACKED.at(queue=queue.name)})) * {handling_time(queue)} / {slots}"
    arriving, settled = rate(PUBLISHED, queue), rate(SETTLED, queue)
    return f"clamp_min({ready} - 60 * {arriving}, 0) / clamp_min({settled} - {arriving}, 0.001)"


def seconds(duration: timedelta) -> float:
    return duration.total_seconds()


def is_collector(queue: Queue) -> bool:
    return not queue.slow


def consumed(queue: Queue) -> str:
    return f"sum(rate({CONSUMED.at(queue=queue.name)}[5m]))"


def both_replica_counts(service: Service) -> str:
    """Required replicas, and beside them, labelled, those that answer scrapes."""
    required = f'label_replace(max({REQUIRED}{{service="{service.name}"}}), "count", "required", "", "")'
    return f'{required} or label_replace(sum({UP.at(job=service.name)}), "count", "actual", "", "")'


SIGNALS = (
    Signal(
        name="time_to_drain",
        question="If nothing changes, when is this queue empty?",
        title="Time to drain",
        row=KEEPING_UP,
        unit="s",
        per="queue",
        expr=time_to_drain,
        alert=Alert(
            name="QueueWillNotDrainInTime",
            severity="page",
            above=lambda queue: seconds(queue.drain_within),
            hold=timedelta(minutes=10),
            summary="{name} will not be empty within its target",
        ),
    ),
    Signal(
        name="oldest_event_age",
        question="How late is the event that is being handled now?",
        title="Age of the oldest event in hand",
        row=KEEPING_UP,
        unit="s",
        per="queue",
        expr=lambda queue: f"max({OLDEST.at(queue=queue.name)})",
        alert=Alert(
            name="OldestEventTooOld",
            severity="ticket",
            above=lambda queue: seconds(queue.late_after),
            hold=timedelta(minutes=5),
            summary="{name} hands out events that are later than promised",
        ),
    ),
    Signal(
        name="depth",
        question="How many events are in this queue, waiting or in hand?",
        title="Queue depth",
        row=KEEPING_UP,
        unit="short",
        per="queue",
        expr=lambda queue: f"sum({READY.at(queue=queue.name)}) + sum({UNACKED.at(queue=queue.name)})",
        no_alert="a depth is good or bad only beside a rate: time to drain is the number that pages",
    ),
    Signal(
        name="consumers",
        question="Does anybody consume this queue?",
        title="Consumers",
        row=KEEPING_UP,
        unit="short",
        per="queue",
        # A missing queue, or a broker that cannot be asked, has no series: that is no consumer, not silence.
        expr=lambda queue: f"sum({CONSUMERS.at(queue=queue.name)}) or vector(0)",
        alert=Alert(
            name="QueueWithoutConsumer",
            severity="page",
            below=lambda _: 1,
            hold=timedelta(minutes=2),
            summary="Nobody consumes {name}",
            explains=("QueueWillNotDrainInTime", "OldestEventTooOld"),
        ),
    ),
    Signal(
        name="replicas",
        question="Are there as many replicas as the traffic needs?",
        title="Replicas: required and actual",
        row=KEEPING_UP,
        unit="short",
        per="service",
        expr=both_replica_counts,
        label="count",
        no_alert="too few replicas page through time to drain, and with the number to set",
    ),
    Signal(
        name="arrivals",
        question="How many events arrive?",
        title="Arrivals",
        row=KEEPING_UP,
        unit="cps",
        per="queue",
        expr=lambda queue: rate(PUBLISHED, queue),
        no_alert="what producers publish is theirs to decide",
    ),
    Signal(
        name="batch_consumption",
        question="How fast are triggers consumed?",
        title="Consumption of the batch queue",
        row=JOBS,
        unit="cps",
        per="queue",
        only=lambda queue: queue.slow,
        expr=consumed,
        no_alert="zero most of the time by nature: time to drain covers it",
    ),
    Signal(
        name="job_duration_p99",
        question="How long do runs take?",
        title="Job duration, p99 over 1 h",
        row=JOBS,
        unit="s",
        per="job",
        expr=lambda job: (
            f"histogram_quantile(0.99, sum by (le) (rate({JOB_DURATION.at('_bucket', job_name=job.name)}[1h])))"
        ),
        no_alert="a finished run cannot be helped any more: job_running alerts while it runs",
    ),
    Signal(
        name="job_running",
        question="How long has the present run been going on?",
        title="Run in progress",
        row=JOBS,
        unit="s",
        per="job",
        expr=lambda job: f"max({JOB_RUNNING.at(job_name=job.name)})",
        alert=Alert(
            name="JobOverBudget",
            severity="ticket",
            above=lambda job: seconds(job.budget),
            hold=timedelta(minutes=1),
            summary="{name} runs longer than its budget",
        ),
    ),
    Signal(
        name="job_runs",
        question="How often did each job run in 24 h?",
        title="Runs in 24 h",
        row=JOBS,
        unit="short",
        per="job",
        panel="stat",
        expr=lambda job: f"sum(increase({JOB_DURATION.at('_count', job_name=job.name)}[24h]))",
        no_alert="how often a job should run is its schedule's business",
    ),
    Signal(
        name="job_triggers",
        question="How often was each job triggered in 24 h?",
        title="Triggers in 24 h",
        row=JOBS,
        unit="short",
        per="job",
        panel="stat",
        expr=lambda job: f"sum(increase({JOB_TRIGGERS.at(batch_job=job.name)}[24h]))",
        no_alert="triggers are published by people and schedules alike; those without an outcome show as depth",
    ),
    Signal(
        name="scheduler_health",
        question="Is a scheduler awake?",
        title="Scheduler: seconds since its last tick",
        row=JOBS,
        unit="s",
        per="once",
        panel="stat",
        expr=lambda _: f"time() - max({SCHEDULER_TICK.at()} > 0)",  # 0: switched off, or not yet awake
        no_alert="a stopped scheduler harms only when a run is due; until then this panel and /health tell",
    ),
    Signal(
        name="job_failures",
        question="Did a run fail within the last hour?",
        title="Failed runs in 1 h",
        row=JOBS,
        unit="short",
        per="job",
        expr=lambda job: f"sum(increase({JOB_RUNS.at(job_name=job.name, status='failed')}[1h]))",
        alert=Alert(
            name="JobFailed",
            severity="ticket",
            above=lambda _: 0,
            hold=timedelta(0),
            summary="A run of {name} failed",
        ),
    ),
    Signal(
        name="dead_letters",
        question="Do dead letters wait for a person?",
        title="Dead letters waiting",
        row=FAILURES,
        unit="short",
        per="queue",
        expr=lambda queue: f"sum({READY.at(queue=queue.dead)})",
        alert=Alert(
            name="DeadLettersWaiting",
            severity="ticket",
            above=lambda _: 0,
            hold=timedelta(minutes=1),
            summary="Dead letters of {name} wait for a decision",
        ),
    ),
    Signal(
        name="rejections",
        question="Why do events become dead letters?",
        title="Dead-lettered in 1 h, by reason",
        row=FAILURES,
        unit="short",
        per="queue",
        expr=lambda queue: f"sum by (reason) (increase({REJECTED.at(queue=queue.name)}[1h]))",
        label="reason",
        no_alert="the letters themselves alert as long as they wait",
    ),
    Signal(
        name="retries",
        question="How many deliveries are given back for another try?",
        title="Retries, by reason",
        row=FAILURES,
        unit="cps",
        per="queue",
        expr=lambda queue: f"sum by (reason) (rate({RETRIED.at(queue=queue.name)}[5m]))",
        label="reason",
        no_alert="a retry is the cure at work; what it cannot cure shows as age, drain time or a dead letter",
    ),
    Signal(
        name="duplicates",
        question="How many deliveries found their write done already?",
        title="Duplicates suppressed",
        row=FAILURES,
        unit="cps",
        per="queue",
        expr=lambda queue: f"sum(rate({DUPLICATES.at(queue=queue.name)}[5m]))",
        no_alert="harmless by design",
    ),
    Signal(
        name="consumption",
        question="How fast do the collectors consume?",
        title="Consumption of the logging and analytics queues",
        row=CONSUMERS_ROW,
        unit="cps",
        per="queue",
        only=is_collector,
        expr=consumed,
        no_alert="a rate is good or bad only beside arrivals: time to drain compares them",
    ),
    Signal(
        name="handling_time",
        question="How long does one event take?",
        title="Handling time, mean",
        row=CONSUMERS_ROW,
        unit="s",
        per="queue",
        expr=mean_handling_time,
        no_alert="slower handling matters when the queue stops draining, which pages",
    ),
    Signal(
        name="cpu",
        question="How busy are the processes?",
        title="CPU cores used",
        row=CONSUMERS_ROW,
        unit="short",
        per="service",
        expr=lambda service: f"sum(rate({CPU.at(job=service.name)}[5m]))",
        no_alert="the sizing formula counts CPU: required replicas rise with it",
    ),
    Signal(
        name="memory",
        question="How large are the processes?",
        title="Resident memory, largest process",
        row=CONSUMERS_ROW,
        unit="bytes",
        per="service",
        expr=lambda service: f"max({MEMORY.at(job=service.name)})",
        no_alert="the memory limit restarts a process before anybody could answer",
    ),
)
