"""Secrets that somebody else keeps current: files of a volume, read when they are needed and never kept."""

from pathlib import Path


def secret(file: Path) -> str:
    """What a file holds, without the line end that editors and `echo` add. Raises ValueError saying what is wrong."""
    try:
        text = file.read_text().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror})") from None
    if not text:
        raise ValueError(f"{file} is empty")
    return text
