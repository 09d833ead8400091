"""The campaign itself: what it says of a row that is not met, and that it leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.alone import alone
from tests.brokers import eventually
from tests.chaos.__main__ import main
from tests.chaos.campaign import WIDTH, Lab, Played, Scenario, one_by_one, show
from tests.chaos.family import descendants
from tests.chaos.figures import Row, at_most, none
from tests.chaos.scenarios import SCENARIOS


def test_every_scenario_has_a_number_of_its_own() -> None:
    """In the order of the table."""
    numbers = [scenario.number for scenario in SCENARIOS]

    assert sorted(set(numbers)) == numbers


@pytest.mark.servers
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGKILL])
def test_a_campaign_that_is_broken_off_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    """No server either, whatever its threads wait for; a terminal that is closed and a lack of memory end it, too."""
    command = [sys.executable, "-m", "tests.chaos", "--only", "12", "--scale", "0.02", "--home", str(tmp_path / "lab")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as campaign:
        begun = eventually(lambda: _serving(found := list(descendants(campaign.pid))) and found, 60)
        campaign.send_signal(how)
        campaign.wait(20)
        eventually(lambda: not any(_runs(pid) for pid in begun))
        said, _ = campaign.communicate(timeout=20)

    if how != signal.SIGKILL:
        assert 128 + how == campaign.returncode
        assert f"ended by {how.name}, and with it every process of the campaign" == said.splitlines()[-1]


def _serving(pids: list[int]) -> bool:
    """Whether there is a broker among them."""
    return any("Name:\tbeam.smp\n" in _status(pid) for pid in pids)


def _runs(pid: int) -> bool:
    """Whether there is such a process; one that nobody has waited for is none."""
    status = _status(pid)
    return bool(status) and "State:\tZ" not in status


def _status(pid: int) -> str:
    """What proc(5) tells of a process; of one that has ended, nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/status").read_text()
    return ""


@pytest.mark.parametrize(
    ("figures", "status"),
    [
        ([none("lost", 0), at_most("exit", 10, 9.9)], 0),
        ([none("lost", 1)], 1),
        ([at_most("exit", 10, 10.1)], 1),
        ([], 1),
    ],
    ids=["met", "lost one", "too slow", "nothing seen"],
)
def test_one_figure_that_is_not_met_fails_the_campaign(figures: list[object], status: int) -> None:
    """A row that saw nothing has met nothing, and so has a campaign without rows."""
    scenario, console = (
        Scenario(1, "kills", lambda *_: Row("", []), "lane"),
        Console(width=WIDTH, record=True, quiet=True),
    )
    played = Played(scenario, "4.3", 1.0, Row("two events", figures))  # type: ignore[arg-type]

    assert status == show(console, [played])
    assert 1 == show(console, [])


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    """It would take away the data of the first one; afterwards there is room, and nothing left of it."""
    with alone(tmp_path / "lab"):
        (tmp_path / "lab/data").touch()
        with pytest.raises(BlockingIOError, match="another run is at work"), alone(tmp_path / "lab"):
            pass
        assert (tmp_path / "lab/data").exists()

    with alone(tmp_path / "lab"):
        assert not list((tmp_path / "lab").iterdir())


def test_a_folder_of_somebody_is_not_emptied(tmp_path: Path) -> None:
    """Only what a run left behind goes."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").touch()

    with pytest.raises(FileExistsError, match="is not empty, and no run made it so"), alone(tmp_path / "home"):
        pass
    assert (tmp_path / "home/letter").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "1,99,x"), "there is no scenario '99', 'x'; there are 1, 2, 3"),
        (("--only", ""), "there is no scenario ''"),
        *(
            (("--scale", text), f"{text!r} is no number above 0; 1 is the full size")
            for text in ("0", "-1", "nan", "all")
        ),
    ],
)
def test_a_wrong_argument_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    """With what there is instead."""
    monkeypatch.setattr(sys, "argv", ["chaos", *arguments])

    with pytest.raises(SystemExit, match="2"):
        main()
    assert told in capsys.readouterr().err


def test_a_scenario_that_breaks_is_a_row_that_is_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the fault, and the others are played all the same."""

    def broken(*_: object) -> Row:
        raise AssertionError("still 3 after 120 s")

    monkeypatch.setattr(Lab, "world", lambda *_: nullcontext())
    lab = Lab(tmp_path, 7, 1.0)
    scenarios = [
        Scenario(1, "broken", broken, "lane"),
        Scenario(2, "sound", lambda *_: Row("", [none("lost", 0)]), "lane"),
    ]
    played = one_by_one(lab, [(scenario, "4.3") for scenario in scenarios])

    assert [False, True] == [one.met for one in played]
    assert "AssertionError: still 3 after 120 s" == played[0].fault


@pytest.mark.parametrize(("scale", "worlds"), [(0.02, ["4-4.3"]), (1.0, ["4-4.3", "7-4.3"])], ids=["small", "full"])
def test_a_lane_plays_in_one_world_in_the_small_form_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float, worlds: list[str]
) -> None:
    """What one of them leaves behind would be there for the next one, so each has its own where figures count."""
    opened: list[str] = []
    monkeypatch.setattr(Lab, "world", lambda _, name, __: opened.append(name) or nullcontext(name))
    lane = [(Scenario(number, "one", lambda *_: Row("", [none("lost", 0)]), "lane"), "4.3") for number in (4, 7)]

    played = one_by_one(Lab(tmp_path, 7, scale), lane)

    assert (worlds, [True, True]) == (opened, [one.met for one in played])
