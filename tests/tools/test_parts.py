"""A part is made once, whole or not at all; a failure names the part, shows its log, and does not stop the others."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tools
from tools.__main__ import main, obtain_all, with_needs
from tools.cache import Build, Part, PartError, numbers, obtain


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "consumer-scaling"


def _greeter(build: Build) -> str:
    (build.into / "greet").write_text("#!/bin/sh\necho greet version 2.5.1\n")
    (build.into / "greet").chmod(0o755)
    return "2.5.1"


GREETER = Part("greeter", "2.5", _greeter, programs={"greet": "greet"})


def test_a_part_is_made_once_and_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert [] == obtain_all([GREETER])
    assert "greeter                2.5.1      installed" in capsys.readouterr().out

    assert [] == obtain_all([GREETER])
    assert "  greeter                2.5.1      present\n" == capsys.readouterr().out


def test_two_runs_at_once_make_a_part_once() -> None:
    made = []

    def slow(build: Build) -> None:
        time.sleep(0.2)
        made.append(build)

    with ThreadPoolExecutor() as pool:
        both = list(pool.map(obtain, [Part("slow", "1", slow), Part("slow", "1", slow)]))

    assert [("1", "cache")] * 2 == both
    assert 1 == len(made)


def test_a_failed_part_says_why_and_the_others_are_there(cache: Path) -> None:
    """The last lines of its log, where all of it is, what to type; nothing half-made stays behind."""
    broken = Part("broken", "1.0", lambda build: build.run("sh", "-c", "echo no such luck; exit 3") and None)
    above = Part("above", "1.0", lambda _: None, needs=(broken,))

    failures = obtain_all(with_needs([above, GREETER]))

    log = cache / "logs/broken-1.0.log"
    assert (
        "broken 1.0 could not be obtained: `sh -c echo no such luck; exit 3` ended with status 3\n"
        "    | $ sh -c echo no such luck; exit 3\n"
        "    | no such luck\n"
        f"  All of it: {log}\n"
        "  Try again: python3 -m tools broken"
    ) == failures[0]
    assert "above 1.0 could not be obtained: a part it needs could not be obtained" == failures[1].splitlines()[0]
    assert GREETER.made
    assert ["greeter-2.5"] == [made.name for made in (cache / "parts").iterdir() if not made.name.startswith(".")]


def test_what_a_registry_breaks_off_is_tried_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as the part says; its log shows every try."""
    monkeypatch.setattr("tools.cache.BETWEEN_TRIES", 0.0)
    once = "echo try; test -e tried || { touch tried; exit 1; }"
    flaky = Part("flaky", "1", lambda build: build.run("sh", "-c", once, cwd=build.scratch, tries=2) and None)

    assert [] == obtain_all([flaky])
    assert ["try", "try"] == (cache / "logs/flaky-1.log").read_text().splitlines()[1::2]


def test_a_changed_lock_file_makes_the_part_anew(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("one")
    obtain(Part("locked", "1", lambda _: None, inputs=(lock,)))
    assert Part("locked", "1", lambda _: None, inputs=(lock,)).made

    lock.write_text("two")

    assert not Part("locked", "1", lambda _: None, inputs=(lock,)).made


@pytest.mark.parametrize(("oldest", "origin"), [("2.5.1", "PATH"), ("2.6", "cache")])
def test_the_machines_own_program_is_used_when_new_enough(
    oldest: str, origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    _greeter(Build(own, own, own, own, {}))
    monkeypatch.setenv("PATH", str(own), prepend=":")
    part = Part("greeter", "2.5", _greeter, {"greet": "greet"}, accepts={"greet": ("--version", oldest)})

    assert ("2.5.1", origin) == obtain(part)

    (own / "greet").unlink()
    assert (origin == "cache") == bool(part.made), "a program that was removed since is looked for again"


def test_a_missing_program_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(PartError) as refusal:
        tools.path("promtool")
    assert "prometheus 3.5 is not on this machine yet: python3 -m tools prometheus" == str(refusal.value)

    with pytest.raises(PartError, match="no part brings 'promtol': `python3 -m tools --list` shows what there is"):
        tools.path("promtol")


def test_an_unknown_part_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["rabit"])

    assert 2 == end.value.code
    assert "no part or program is called rabit; there are venv, rabbitmq, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26, 8)), ("v22.20.0", (22, 20, 0)), ("command not found", ())],
)
def test_a_version_is_read_from_any_answer(answer: str, version: tuple[int, ...]) -> None:
    assert version == numbers(answer)
