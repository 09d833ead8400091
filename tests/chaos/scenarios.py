"""The lines of the table, in the order of their numbers."""

from __future__ import annotations

from tests.chaos import brokers, deadly, jobs, memory, nodes, outages, poison, timeouts, traffic
from tests.chaos.campaign import Scenario

BOTH = ("4.3", "4.0")
# Lanes that take about as long each. One more, and a machine of two cores answers later than the figures allow.
LONG, REST, ONE, OTHER = "long", "rest", "on 4.3", "on 4.0"
EACH = "on {version}"
# Company of the small form: two worlds, played in for about as long.
THIS, THAT = "this world", "that world"

SCENARIOS = (
    Scenario(1, "kills, cut connections and failing sinks", traffic.kills, LONG, BOTH),
    Scenario(2, "sinks down, flapping, and away for too long", outages.down, EACH, BOTH),
    Scenario(3, "30 % of Cosmos writes answered with 429", traffic.throttled, OTHER),
    Scenario(4, "malformed events between good ones", poison.refused, OTHER, company=THIS),
    Scenario(5, "events that kill the process", deadly.deadly, EACH, BOTH),
    Scenario(6, "broker frozen, peer half-open", brokers.frozen, EACH, BOTH),
    Scenario(7, "broker restarts", brokers.restarted, REST, company=THIS),
    Scenario(8, "broker memory alarm", brokers.alarmed, ONE, company=THAT),
    Scenario(9, "SIGTERM under load", traffic.terminated, OTHER, company=THAT),
    Scenario(10, "batch runs killed anywhere", jobs.killed, ONE),
    Scenario(11, "a job longer than the acknowledgement timeout", timeouts.outlasting, EACH, BOTH),
    Scenario(12, "redelivered after midnight", traffic.midnight, ONE, company=THAT),
    Scenario(13, "the same trigger twice, at once", jobs.twice, ONE),
    Scenario(14, "three nodes, one killed, then another", nodes.clustered, ONE),
    Scenario(15, "scaled and rolled under load", traffic.scaled, ONE, company=THIS),
    Scenario(16, "memory over very many events", memory.flat, REST, company=THAT),
)
