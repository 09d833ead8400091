"""What is promised when processes die: every event once in the sinks, and no innocent among the dead letters."""

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from oncall.trouble import Trouble
from proof.flow import STALE, publish
from proof.plan import Message, Plan, good
from proof.portfolio import DAYS, Window, events
from proof.readback import Seen
from proof.verify import sink
from tests.brokers import eventually
from tests.reliability.stand import Stand

SEED = 7
EVENTS = 5_000
CONSUMER_KILLS = 10
BROKER_ENDS = (signal.SIGKILL, signal.SIGTERM)
SETTLED_WITHIN = 120.0  # seconds after the last disturbance
SERVICES = ("logging", "analytics-service")
NOTHING = Seen(frozenset(), {}, {})

pytestmark = [
    pytest.mark.servers,
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),  # the emulator's certificate
]


def five_thousand(stand: Stand) -> Plan:
    """Some weeks of the portfolio, as many as it takes."""
    today = date(2026, 3, 2)
    happened = [event for week in range(3) for event in events(today - week * timedelta(days=DAYS), SEED)]
    return Plan(stand.catalog, Window.before(today), tuple(good(stand.catalog, event) for event in happened[:EVENTS]))


def publish_until_taken(stand: Stand, messages: Sequence[Message]) -> None:
    """Publish, again from the start while the broker is away: repeated events have the same ids."""
    for _ in range(60):
        try:
            asyncio.run(publish(stand.amqp, stand.catalog.exchange.name, messages))
        except Trouble:
            time.sleep(0.5)
        else:
            return
    raise AssertionError("the broker did not take the events within 30 s")


@pytest.mark.timeout(240)
def test_every_event_is_written_once_through_kills_of_consumers_and_broker(stand: Stand) -> None:
    """5,000 events; ten times a consumer is killed, twice the broker goes down in the middle of publishing."""
    plan, chance = five_thousand(stand), random.Random(SEED)
    consumers: dict[str, subprocess.Popen[bytes]] = {name: stand.start(name) for name in SERVICES}
    disturbances: list[str | signal.Signals] = [*(SERVICES * (CONSUMER_KILLS // 2)), *BROKER_ENDS]
    chance.shuffle(disturbances)
    share = EVENTS // len(disturbances) + 1

    for number, victim in enumerate(disturbances):
        with ThreadPoolExecutor(1) as pool:
            published = pool.submit(publish_until_taken, stand, plan.messages[number * share : (number + 1) * share])
            if isinstance(victim, signal.Signals):
                stand.restart_broker(victim)
            published.result()
        time.sleep(chance.uniform(0.3, 1.2))
        if isinstance(victim, str):
            consumers[victim].kill()
            consumers[victim].wait()
            consumers[victim] = stand.start(victim)

    last = time.monotonic()
    eventually(lambda: time.monotonic() > last + STALE and not any(stand.held().values()), SETTLED_WITHIN)
    for consumer in consumers.values():
        consumer.send_signal(signal.SIGTERM)
        assert 0 == consumer.wait(timeout=30)

    after = stand.sinks.look()
    queues = [queue for queue in stand.catalog.queues if queue.service in SERVICES]
    ledgers = [sink(plan, queue, stand.sinks.lake, NOTHING, after) for queue in queues]
    assert [] == [sentence for ledger in ledgers for sentence in ledger.sentences()]
    assert [len(plan.written(queue)) for queue in queues] == [ledger.equal for ledger in ledgers]
    assert {} == {place: reason for letters in after.dead.values() for place, reason in letters.items()}
    assert all('"attempt":2' in stand.log(name) for name in SERVICES), "no kill hit a consumer at work: kill later"
