"""The lines of the table, in the order of their numbers."""

from __future__ import annotations

from tests.chaos import brokers, deadly, jobs, memory, nodes, outages, poison, timeouts, traffic
from tests.chaos.campaign import Scenario

BOTH = ("4.3", "4.0")
# Lanes that take about as long each; what waits is played beside the work, on each broker by itself.
WAITING, LONG, REST = "waiting on {version}", "long", "rest"

SCENARIOS = (
    Scenario(1, "kills, cut connections and failing sinks", traffic.kills, BOTH, lane=LONG),
    Scenario(2, "sinks down, flapping, and away for too long", outages.down, BOTH, lane=WAITING),
    Scenario(3, "30 % of Cosmos writes answered with 429", traffic.throttled),
    Scenario(4, "malformed events between good ones", poison.refused),
    Scenario(5, "events that kill the process", deadly.deadly, BOTH, lane=WAITING),
    Scenario(6, "broker frozen, peer half-open", brokers.frozen, BOTH, lane=WAITING),
    Scenario(7, "broker restarts", brokers.restarted, lane=REST),
    Scenario(8, "broker memory alarm", brokers.alarmed, lane=WAITING),
    Scenario(9, "SIGTERM under load", traffic.terminated),
    Scenario(10, "batch runs killed anywhere", jobs.killed),
    Scenario(11, "a job longer than the acknowledgement timeout", timeouts.outlasting, BOTH, lane=WAITING),
    Scenario(12, "redelivered after midnight", traffic.midnight),
    Scenario(13, "the same trigger twice, at once", jobs.twice),
    Scenario(14, "three nodes, one killed, then another", nodes.clustered),
    Scenario(15, "scaled and rolled under load", traffic.scaled, lane=WAITING),
    Scenario(16, "memory over very many events", memory.flat, lane=REST),
)
