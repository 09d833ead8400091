"""What an image is made of, as parts: a Python on Debian without a shell, and what the consumers import."""

import platform
import subprocess
from pathlib import Path

from tools import debian, oci
from tools.cache import ROOT, Build, PartError, only

SUITE, PYTHON = "bookworm", "3.11"  # as consumers/Dockerfile says
# python3.11 with what it links to; the first one gives the version
PACKAGES = f"""
    python{PYTHON} python{PYTHON}-minimal libpython{PYTHON}-minimal libpython{PYTHON}-stdlib base-files netbase
    media-types tzdata ca-certificates libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 libcrypt1 libffi8 libbz2-1.0
    liblzma5 libsqlite3-0 libuuid1 libncursesw6 libtinfo6 libreadline8 libdb5.3 libnsl2 libtirpc3 libgssapi-krb5-2
    libkrb5-3 libk5crypto3 libcom-err2 libkrb5support0 libkeyutils1
""".split()
UNUSED = ("doc", "man", "locale", "lintian", "bug", "perl5", "base-files", "ca-certificates")
USER = 10001
PROGRAM = "python-in-image"
TREE, LAYER = "root", "layer.tar"
REQUIREMENTS = ROOT / "consumers/requirements.txt"
SLIM = ROOT / "tools/slim.py"
DEPENDENCIES = "/opt/dependencies"
INPUTS = (Path(__file__), SLIM, ROOT / "tools/oci.py")


def base(build: Build) -> str:
    """The root of a system that can run Python and nothing else, as `root/` and as a layer."""
    root = build.into / TREE
    root.mkdir()
    debs = debian.download(build, SUITE, PACKAGES)
    for deb in debs.values():
        build.run("dpkg-deb", "--extract", deb, root)
    _settle(build, root, list(debs.values()))
    compiled(root, root / f"usr/lib/python{PYTHON}", f"/usr/lib/python{PYTHON}")
    oci.pack(build.into / LAYER, root)
    return build.run("dpkg-deb", "--field", debs[PACKAGES[0]], "Version").strip().partition("-")[0]


def _settle(build: Build, root: Path, debs: list[Path]) -> None:
    """Do what the packages' own scripts would have done."""
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_text("".join(file.read_text() for file in certificates))
    (root / "usr/lib/ssl").mkdir()
    (root / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")  # where OpenSSL looks
    for name in ("python", "python3"):
        (root / "usr/bin" / name).symlink_to(f"python{PYTHON}")
    (root / "etc/passwd").write_text(
        f"root:x:0:0:root:/root:/sbin/nologin\nconsumer:x:{USER}:{USER}::/:/sbin/nologin\n"
    )
    (root / "etc/group").write_text(f"root:x:0:\nconsumer:x:{USER}:\n")
    fields = [
        build.run("dpkg-deb", "--field", deb).replace("\n", "\nStatus: install ok installed\n", 1) for deb in debs
    ]
    (root / "var/lib/dpkg").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").write_text("\n".join(sorted(fields)))  # where scanners look
    build.run("rm", "-r", *(folder for name in UNUSED if (folder := root / "usr/share" / name).exists()))


def dependencies(build: Build) -> None:
    """What consumers/requirements.txt names, by hash, for the Python of the base."""
    machine, target = platform.machine(), build.into / TREE / DEPENDENCIES.lstrip("/")
    platforms = (f"--platform=manylinux_{glibc}_{machine}" for glibc in ("2_34", "2_31", "2_28", "2_17"))
    build.run(
        build.programs["python"], "-m", "pip", "install", "--no-deps", "--no-compile", "--require-hashes",
        "--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON, *platforms,
        "--platform", f"manylinux2014_{machine}", "--target", target, "--requirement", REQUIREMENTS,
    )  # fmt: skip
    compiled(build.programs[PROGRAM].resolve().parents[2], target, DEPENDENCIES)
    oci.pack(build.into / LAYER, build.into / TREE)


def compiled(root: Path, folder: Path, place: str) -> None:
    """Run slim.py by the Python of a root, whatever C library and Python this machine has. Raises PartError."""
    libraries = [root / top / f"{platform.machine()}-linux-gnu" for top in ("lib", "usr/lib")]
    loader = only(libraries[0], "ld-linux-*")
    program = root / f"usr/bin/python{PYTHON}"
    done = subprocess.run(
        [loader, "--library-path", ":".join(map(str, libraries)), program, SLIM, folder, place],
        env={"PYTHONHOME": str(root / "usr"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise PartError(f"{SLIM} failed in {folder}: {done.stdout}")
