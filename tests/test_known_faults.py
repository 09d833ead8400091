"""The eleven known faults of the system being replaced: each is held off by a test that bears its number."""

import re
from pathlib import Path

TESTS = Path(__file__).parent

FAULTS = {
    1: "random blob names and document ids made duplicates",
    2: "failed messages were lost",
    3: "consumers never came back after a dropped connection",
    4: "a storage client and a container call per event",
    5: "a job's error was swallowed",
    6: "no failure counter, no alert rules, no depth panel",
    7: "ml.prediction.completed was not counted",
    8: "events without a tenant were skipped in silence",
    9: "jobs longer than the acknowledgement timeout ran twice",
    10: "histogram buckets stopped at five minutes",
    11: "no infrastructure as code",
}


def test_every_known_fault_has_a_test_of_its_number() -> None:
    """`test_fault_NN_...` somewhere below tests/, for each of the eleven."""
    text = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    tested = {int(number) for number in re.findall(r"def test_fault_(\d\d)_", text)}
    missing = {number: fault for number, fault in FAULTS.items() if number not in tested}

    assert {} == missing, f"write a test named test_fault_NN_... for {missing}"
