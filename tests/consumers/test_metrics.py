"""What a process tells about itself before it has seen any event."""

from catalog import CATALOG
from consumers.metrics import Meters


def test_a_process_tells_how_much_it_takes_at_once() -> None:
    """For each queue of its service, and no other: the sizing formula reads it."""
    registry = Meters(CATALOG, "logging").registry

    assert {queue.name: queue.prefetch for queue in CATALOG.queues_of("logging")} == {
        sample.labels["queue"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "consumer_prefetch"
    }
