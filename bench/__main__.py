"""`python -m bench`: ours and a peer on the same preloaded queue, alternating, as a table of medians and ranges."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pika
from rich.console import Console
from rich.table import Table

from bench.stopwatch import PREFETCH
from tools import servers

SAMPLE = Path(__file__).parents[1] / "tests/events/risk.evaluated.json"
CONTENDERS = {
    "ours, nothing written": ("bench.ours", "null"),
    "raw pika loop, nothing written": ("bench.raw_pika", "null"),
    "ours, JSON blob": ("bench.ours", "json"),
    "raw pika loop, JSON blob": ("bench.raw_pika", "json"),
    "ours, Parquet blob": ("bench.ours", "parquet"),
}
ALONGSIDE = 2.5  # a load average above it makes two runs incomparable on two cores


@dataclass(frozen=True)
class Field:
    """The servers that all contenders share: a broker and a stub store."""

    url: str
    stub: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="events per run (default 20,000)")
    parser.add_argument("--rounds", type=int, default=5, help="runs per contender, alternating (default 5)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that the stub store takes (default 0)")
    options = parser.parse_args()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with ExitStack() as started, tempfile.TemporaryDirectory() as home:
        field = _servers(started, Path(home), options.latency)
        for turn in range(options.rounds):
            for name in CONTENDERS:
                results[name].append(_run(field, name, options.events))
                print(f"  round {turn + 1} of {options.rounds}: {name}: {results[name][-1]['rate']:,.0f}/s", flush=True)
    _show(results, options)
    return 0


def _servers(started: ExitStack, home: Path, latency: float) -> Field:
    ports, stub = servers.BrokerPorts(*servers.free_ports(5)), servers.free_ports(1)[0]
    password = secrets.token_urlsafe(12)
    started.enter_context(servers.running(servers.epmd(home / "epmd", ports.epmd)))
    started.enter_context(servers.running(servers.rabbitmq(home, ports=ports, user="bench", password=password)))
    store = servers.Server(
        name="stub",
        command=(sys.executable, "-m", "bench.stub", str(stub), str(latency)),
        ready=f"tcp://127.0.0.1:{stub}",
        ports=(stub,),
        directory=home / "stub",
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    started.enter_context(servers.running(store))
    return Field(f"amqp://bench:{password}@127.0.0.1:{ports.amqp}/%2F", stub)


def _run(field: Field, name: str, events: int) -> dict[str, float]:
    """One contender on a fresh queue that holds all its events already."""
    queue = f"bench_{uuid.uuid4().hex[:8]}"
    _preload(field.url, queue, events)
    command = [sys.executable, "-m", *CONTENDERS[name], queue, str(events), str(field.stub)]
    done = subprocess.run(
        command,
        env={**os.environ, "RABBITMQ_URL": field.url},
        check=False,
        timeout=300,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed with status {done.returncode}:\n{done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return result


def _preload(url: str, queue: str, events: int) -> None:
    body = json.loads(SAMPLE.read_text())
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        for number in range(events):
            event = json.dumps({**body, "id": f"bench-{queue}-{number}"}).encode()
            channel.basic_publish("", queue, event, pika.BasicProperties(delivery_mode=2))


def _show(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    table = Table(title=f"{options.events:,} events of {SAMPLE.stat().st_size} B, prefetch {PREFETCH}, quorum queue")
    for column in ("contender", "events/s (range)", "CPU us/event (range)", "peak RSS MB"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for name, runs in results.items():
        table.add_row(name, _spread(runs, "rate"), _spread(runs, "cpu_us"), _spread(runs, "rss_mb"))
    console = Console(width=110)
    console.print(table)
    load = os.getloadavg()[0]
    console.print(
        f"{options.rounds} alternating rounds; store latency {options.latency * 1000:g} ms; load now {load:.1f}"
    )
    if load > ALONGSIDE:
        console.print("The machine was busy with other work: compare the rows with each other, and run it again.")


def _spread(runs: list[dict[str, float]], name: str) -> str:
    values = sorted(run[name] for run in runs)
    return f"{statistics.median(values):,.0f} ({values[0]:,.0f} to {values[-1]:,.0f})"


if __name__ == "__main__":
    sys.exit(main())
