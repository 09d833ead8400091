"""Real parts on this machine: `python3 -m tools` obtains them, `tools.path` says where they are."""

import re
from pathlib import Path

from tools.cache import PartError
from tools.parts import PARTS, owner

__all__ = ["PartError", "cosmos_certificate", "emulator_account", "emulator_key", "folder", "path"]


def folder(part: str) -> Path:
    """Where an obtained part is; raises PartError with the command that obtains it."""
    if not PARTS[part].made:
        raise PartError(f"{part} {PARTS[part].version} is not on this machine yet: python3 -m tools {part}")
    return PARTS[part].home


def path(program: str, part: str | None = None) -> Path:
    """The program's file, from `part` where several bring it; raises PartError with the command that obtains it."""
    owning = PARTS[part] if part else owner(program)
    if not owning:
        raise PartError(f"no part brings {program!r}: `python3 -m tools --list` shows what there is")
    return (folder(owning.name) / "bin" / program).resolve()


def emulator_account() -> str:
    """The account name that the blob emulator answers to."""
    return _azurite_constant("EMULATOR_ACCOUNT_NAME")


def emulator_key(emulator: str) -> str:
    """The well-known key of "azurite" from its own package; "cosmos" checks no signature, so any base64 will do."""
    return _azurite_constant("EMULATOR_ACCOUNT_KEY_STR") if emulator == "azurite" else "bm90IGNoZWNrZWQ="


def cosmos_certificate() -> Path:
    """The certificate (PEM) that the document emulator presents."""
    return path("cosmosdb-server").parent.parent / "cert.pem"


def _azurite_constant(name: str) -> str:
    constants = path("azurite-blob").parent / "utils/constants.js"
    found = re.search(rf'exports\.{name} = "([^"]+)"', constants.read_text())
    if not found:
        raise PartError(f"{constants} does not name {name}: has azurite been changed? python3 -m tools emulators")
    return found[1]
