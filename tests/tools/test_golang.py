"""Programs of a Go module are built in one go, under the names that were asked for, and leave nothing else behind."""

import subprocess
from pathlib import Path

import pytest

import tools
from tools import golang
from tools.cache import Build

pytestmark = pytest.mark.servers


def test_two_programs_of_one_module_are_built_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, into, scratch = (tmp_path / name for name in ("modules/two", "into", "scratch"))
    for folder in (module / "cmd/one", module / "cmd/other", into, scratch):
        folder.mkdir(parents=True)
    (module / "go.mod").write_text("module tools/two\n\ngo 1.26.0\n")
    source = 'package main\n\nvar says = "nothing"\n\nfunc main() { println(says) }\n'
    (module / "cmd/one/main.go").write_text(source)
    (module / "cmd/other/main.go").write_text(source)
    build = Build(into, into, scratch, tmp_path / "log", {"go": tools.path("go")})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(golang, "MODULES", tmp_path / "modules")

    golang.built("two", {"first": "tools/two/cmd/one", "second": "tools/two/cmd/other"}, "-X main.says=hello")(build)

    said = {
        program.name: subprocess.run([program], capture_output=True, text=True, check=True).stderr
        for program in into.iterdir()
    }
    assert {"first": "hello\n", "second": "hello\n"} == said

    golang.sweep()
    assert [".go.lock"] == [left.name for left in (tmp_path / "cache/consumer-scaling").iterdir()]
