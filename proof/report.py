"""The last step: the proof as tables for a person, and its verdict in one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from proof.compare import Content
from proof.counters import Process
from proof.portfolio import JOB
from proof.run import Proof, QueueResult
from proof.stack import Stack

STARTUP_GOAL = 2.0  # seconds from process start to consuming
MEMORY_GOAL = 130.0  # MB resident


def show(console: Console, proof: Proof, stack: Stack) -> None:
    """Print everything; a terminal gets frames and colours, a file plain text."""
    console.print()
    console.print(_queues(proof.queues))
    console.print(_processes(proof.processes))
    for line in _facts(proof):
        console.print(line)
    console.print()
    for name, address in _links(stack):
        console.print(f"  {name:<13} {address}", soft_wrap=True)
    console.print("\nTry next:")
    steps = list(_next(stack))
    for command, what in steps:
        console.print(f"  {command:<{max(len(text) for text, _ in steps)}}  {what}", soft_wrap=True)
    console.print()
    verdict(console, proof)


def verdict(console: Console, proof: Proof) -> None:
    for fault in proof.faults:
        console.print(f"[red]not as planned[/]: {fault}", soft_wrap=True)
    if not proof.faults:
        written = sum(queue.sink.equal for queue in proof.queues)
        dead = sum(sum(queue.reasons.values()) for queue in proof.queues)
        console.print(
            f"[green]as planned[/]: {written:,} writes and {dead} dead letters; nothing lost, duplicated or unexpected"
        )


def _queues(queues: tuple[QueueResult, ...]) -> Table:
    table = Table(title="Queues", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("queue")
    for head in ("published", "redelivered", "consumed", "written", "duplicates\nsuppressed"):
        table.add_column(head, justify="right")
    table.add_column("dead-lettered by reason")
    table.add_column("events/s", justify="right")
    for queue in queues:
        figures = (queue.published, queue.redelivered, queue.consumed)
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(queue.reasons.items()))
        written = f"{queue.sink.equal:,} of {queue.sink.planned:,}"
        table.add_row(
            queue.name,
            *(f"{figure:,}" for figure in figures),
            written,
            f"{queue.duplicates:,}",
            reasons,
            f"{queue.rate:,.0f}",
        )
    return table


def _processes(processes: tuple[Process, ...]) -> Table:
    table = Table(title="Consumer processes", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("service")
    table.add_column("address")
    table.add_column(f"start-up (goal {STARTUP_GOAL:g} s)", justify="right")
    table.add_column(f"memory (goal {MEMORY_GOAL:g} MB)", justify="right")
    for process in processes:
        memory = process.memory and process.memory / 1e6
        table.add_row(
            process.service,
            process.url,
            _against(process.startup, STARTUP_GOAL, "s"),
            _against(memory, MEMORY_GOAL, "MB"),
        )
    return table


def _against(value: float | None, goal: float, unit: str) -> str:
    if value is None:
        return "no answer"
    text = f"{value:.1f} {unit}" if unit == "s" else f"{value:.0f} {unit}"
    return text if value <= goal else f"[yellow]{text}, missed[/]"


def _facts(proof: Proof) -> Iterator[str]:
    lake_queue = proof.plan.catalog.queue_of("lake").name
    lake = next(queue.sink for queue in proof.queues if queue.name == lake_queue)
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(proof.plan.kinds().items()))
    yield (
        "consumed: acknowledged after the write; written: distinct ids found in the sink; suppressed: consumed, but"
        " written before; rejected events are counted with the dead letters"
    )
    yield f"Published: {len(proof.plan.messages):,} messages ({kinds})"
    yield f"Parquet rows compared with what was sent: {lake.equal:,} of {lake.planned:,} equal"
    snapshots = proof.snapshots
    yield f"Snapshots compared with the rows of the lake: {snapshots.equal:,} of {snapshots.planned:,} equal"
    yield f"Job: {JOB} of {proof.plan.window.first} to {proof.plan.window.last}: {_end(proof.run)}"
    yield f"Outcome events heard: {proof.outcomes.equal} of {proof.outcomes.planned}, each by one id"


def _next(stack: Stack) -> Iterator[tuple[str, str]]:
    catalog, alert = stack.catalog, stack.catalog.alerts[0]
    service = catalog.service(catalog.queue_of("lake").service)
    yield ".venv/bin/oncall status", "every queue: depth, rates, consumers, dead letters, alerts that fire"
    yield ".venv/bin/oncall dead list", "the events that were refused just now, and why"
    yield ".venv/bin/oncall runs", "the job runs, with what each read and wrote"
    yield f".venv/bin/oncall explain {alert.name}", "an alert with its live numbers and what to do"
    replicas = f"replicas.{service.name} {service.replicas + 1}"
    yield f"tools/pulumi config set --stack local {replicas} && make up", f"one more process for {service.name}"


def _end(run: Content) -> str:
    """How a run ended, by the ledger's own record."""
    if not run:
        return "never begun"
    counts = ", ".join(f"{name} {count:,}" for name, count in run.get("counts", {}).items())
    return f"{run['status']} ({run.get('reason') or counts})"


def _links(stack: Stack) -> Iterator[tuple[str, str]]:
    yield "Prometheus", stack.endpoints.prometheus
    yield "Alertmanager", stack.endpoints.alertmanager
    yield from (("Board", board) for board in stack.boards)
