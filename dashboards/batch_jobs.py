"""The board that people have known as Batch Jobs, with every signal of the catalog."""

from __future__ import annotations

from catalog.kinds import Catalog
from catalog.links import BOARD, LINKS, Links
from dashboards import panels


def boards(catalog: Catalog, links: Links = LINKS) -> dict[str, str]:
    """Every board as JSON text, by uid."""
    tags = ("bi-risk", "batch-jobs")
    return {BOARD: panels.board(catalog, links, uid=BOARD, title="BI Sales Risk – Batch Jobs", tags=tags)}
