"""One sizing formula: what Python computes, what Prometheus computes, and what a person computes by hand."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from alerts.build import dump, recording_rules, rules
from catalog import CATALOG, Catalog, resolve
from catalog.queues import BATCH_JOBS, DATA_LAKE
from catalog.services import LOGGING, RISK_ANALYTICS
from catalog.sizing import NEEDED, REQUIRED, Sizing, sizings
from dashboards import boards
from tests import programs

Values = dict[str, float]

# From nothing at all to far past every limit, and everything between that a division or a rounding could trip over.
AMOUNTS = {
    "arrivals": st.floats(0, 5_000),
    "backlog": st.integers(0, 5_000_000).map(float),
    "handling_time": st.floats(1e-6, 7_200),
    "cpu_time": st.floats(0, 10_000),
    "at_once": st.integers(1, 300).map(float),
}
MOMENTS = st.lists(st.tuples(*(st.fixed_dictionaries(AMOUNTS) for _ in CATALOG.queues)), min_size=1, max_size=30)
PROMISES = st.tuples(*(st.timedeltas(queue.longest_run, 100 * queue.longest_run) for queue in CATALOG.queues))


def required(catalog: Catalog, moment: dict[str, Values]) -> dict[str, int]:
    """Replicas by service: the most that any of its queues needs."""
    found: dict[str, int] = {}
    for sizing in sizings(catalog):
        count = sizing.replicas(moment[sizing.queue.name])
        found[sizing.service.name] = max(count, found.get(sizing.service.name, 0))
    return found


def rule_test(catalog: Catalog, moments: list[dict[str, Values]]) -> dict[str, Any]:
    """One series per measurement with a sample for each moment, and the replicas that Prometheus has to find."""
    series = [
        {
            "series": f'queue:{name}{{queue="{queue.name}",service="{queue.service}"}}',
            "values": " ".join(repr(moment[queue.name][name]) for moment in moments),
        }
        for queue in catalog.queues
        for name in AMOUNTS
    ]
    asked = [
        {
            "expr": REQUIRED,
            "eval_time": f"{minute}m",
            "exp_samples": [
                {"labels": f'{REQUIRED}{{service="{service}"}}', "value": count}
                for service, count in required(catalog, moment).items()
            ],
        }
        for minute, moment in enumerate(moments)
    ]
    return {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": asked}],
    }


@pytest.mark.servers
@settings(max_examples=20, deadline=None, phases=[Phase.reuse, Phase.generate])  # promtool names what differs
@given(measured=MOMENTS, promises=PROMISES)
def test_python_and_prometheus_find_the_same_number(measured: list[Any], promises: Any) -> None:
    """The formula gives the same replicas for any traffic and any promise, whoever computes it."""
    kept = zip(CATALOG.queues, promises, strict=True)
    catalog = replace(CATALOG, queues=tuple(replace(queue, drain_within=promise) for queue, promise in kept))
    names = [queue.name for queue in catalog.queues]
    moments = [dict(zip(names, values, strict=True)) for values in measured]
    formula = [rule for rule in recording_rules(catalog) if rule["record"] in (NEEDED, REQUIRED)]

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules.yaml").write_text(dump([{"name": "sizing", "rules": formula}]))
        Path(folder, "test.yaml").write_text(yaml.safe_dump(rule_test(catalog, moments)))
        programs.run("promtool", "test", "rules", Path(folder, "test.yaml"))


@pytest.mark.servers
def test_what_is_measured_reaches_the_formula() -> None:
    """From the counters of broker and consumers to a number of replicas, by hand-made figures."""
    programs.run("promtool", "test", "rules", Path(__file__).parent / "alerts/sizing_test.yaml")


LAKE, BATCH = Sizing(DATA_LAKE, LOGGING), Sizing(BATCH_JOBS, RISK_ANALYTICS)
QUIET = {"arrivals": 0.0, "backlog": 0.0, "handling_time": 0.02, "cpu_time": 0.001, "at_once": 10.0}
BY_HAND = [
    (LAKE, "nothing happens", {}, 1, "at least one"),
    # 500/s x 0.1 s = 50 busy slots; at 70 % that takes 71.4 slots, 7.1 replicas of 10; the promise allows 6
    (LAKE, "more than may be", {"arrivals": 500.0, "handling_time": 0.1}, 6, "most replicas"),
    # 200/s x 0.1 s = 20 busy slots; at 70 % 28.6 slots, 2.9 replicas
    (LAKE, "steady traffic", {"arrivals": 200.0, "handling_time": 0.1}, 3, "arrivals"),
    # 200/s + 180,000 / 900 s = 400/s x 0.1 s = 40 slots, 4 replicas
    (LAKE, "a backlog on top", {"arrivals": 200.0, "backlog": 180_000.0, "handling_time": 0.1}, 4, "backlog"),
    # 1,000/s x 1 ms of CPU = 1 core; at 70 % 1.4 cores
    (LAKE, "quick but not for free", {"arrivals": 1_000.0, "handling_time": 0.002, "cpu_time": 0.001}, 2, "cpu"),
    # an idle hour charged to three events: they cannot have used more CPU than they took time
    (LAKE, "idle time is nobody's", {"arrivals": 0.01, "handling_time": 0.02, "cpu_time": 30.0}, 1, "at least one"),
    # 3,000/s come, the store takes 2,000/s: sized for those, 2,000/s x 0.005 s / 0.7 / 10 = 1.4
    (LAKE, "the store is the limit", {"arrivals": 3_000.0, "handling_time": 0.005, "cpu_time": 0.0001}, 2, "sink"),
    # 12 jobs of 30 min in 4 h: 1.5 workers
    (
        BATCH,
        "a dozen jobs at once",
        {"backlog": 12.0, "handling_time": 1_800.0, "cpu_time": 60.0, "at_once": 1.0},
        2,
        "backlog",
    ),
]


@pytest.mark.parametrize(
    ("sizing", "story", "changes", "replicas", "binding"), BY_HAND, ids=[row[1] for row in BY_HAND]
)
def test_by_hand(sizing: Sizing, story: str, changes: Values, replicas: int, binding: str) -> None:
    """The number and the constraint that decides it are those of a calculation on paper."""
    values = {**QUIET, **changes}

    assert replicas == sizing.replicas(values), story
    assert binding == sizing.binding(values), story


def test_a_prefetch_is_in_no_rule_and_on_no_board() -> None:
    """Changing one restarts the replicas that have to know it; they tell everybody else."""
    changed = resolve(CATALOG, {f"{queue.setting}.prefetch": queue.prefetch + 2 for queue in CATALOG.queues})

    assert rules(CATALOG) == rules(changed)
    assert boards(CATALOG) == boards(changed)
