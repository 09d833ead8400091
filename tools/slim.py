"""In every image: what no consumer needs taken out of a folder, the rest compiled; a script for the Dockerfile too."""

import compileall
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

UNUSED = (
    *("**/tests", "**/__pycache__", "**/include", "**/*.a", "**/*.h", "**/*.pxd", "**/*.pxi", "**/*.pyi", "**/*.pyx"),
    "bin",
    # what lake.py does not ask of pyarrow: a protocol, a query format, another cloud, and names for linking against it
    *("pyarrow/*flight*", "pyarrow/_substrait*", "pyarrow/*s3*", "pyarrow/libarrow*.so", "pyarrow/lib*.so.*.*.*"),
)


def slim(folder: Path, place: str) -> None:
    """Take out what is unused and write bytecode as it will be found at `place`, the same bytes every time."""
    for pattern in UNUSED:
        for found in list(folder.glob(pattern)):
            shutil.rmtree(found) if found.is_dir() else found.unlink(missing_ok=True)
    # not by time stamp: an image has none, and nobody changes a source in it
    mode = PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=1, stripdir=folder, prependdir=place, invalidation_mode=mode)


if __name__ == "__main__":
    slim(Path(sys.argv[1]), sys.argv[-1])
