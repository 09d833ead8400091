"""What every sink promises, real or in memory: the suites that each of them passes unchanged."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from catalog import CATALOG
from consumers import paths
from consumers.sinks import PROBE, Blobs, Changed, Document, Documents
from consumers.verdicts import Later, Never, Reject, Retry
from tests.stories import run

Sink = TypeVar("Sink", Blobs, Documents)

USAGE = CATALOG.store("cosmos_db.containers.usage_ml").name
RUNS = CATALOG.store("cosmos_db.containers.batch_job_runs").name
AWKWARD = (
    "../../etc/passwd",
    "a%2Fb",
    "Case",
    "case",
    "dots...",
    "why? #1",
    "back\\slash",
    "new\nline",
    "été",
    "long" * 300,
)


def tell(make: Callable[[], Sink], story: Callable[[Sink], Awaitable[None]]) -> None:
    """Run a story on a sink made in its event loop, and close the sink."""

    async def told() -> None:
        sink = make()
        try:
            await story(sink)
        finally:
            await sink.close()

    run(told())


def fresh() -> str:
    """A name that no other test uses."""
    return uuid.uuid4().hex


class BlobContract:
    """A subclass gives the fixture `make`: a function that makes the sink."""

    may_delete = True

    def test_a_blob_is_written_once(self, make: Callable[[], Blobs]) -> None:
        """The second create of the same event says so and leaves the blob as it is."""
        path = f"{fresh()}/a.json"

        async def story(blobs: Blobs) -> None:
            assert await blobs.create(path, b"first", "hash of the event")
            assert not await blobs.create(path, b"written by a newer version", "hash of the event")
            assert b"first" == await blobs.read(path)

        tell(make, story)

    def test_another_event_with_the_same_path_is_a_conflict(self, make: Callable[[], Blobs]) -> None:
        """What was written first stays, and the second event learns of it."""
        path = f"{fresh()}/a.json"

        async def story(blobs: Blobs) -> None:
            await blobs.create(path, b"first", "one")
            with pytest.raises(Reject) as refused:
                await blobs.create(path, b"second", "two")
            assert Never.CONFLICT == refused.value.reason
            assert f"{path} was written by another event with the same id" == refused.value.detail
            assert b"first" == await blobs.read(path)

        tell(make, story)

    def test_of_many_creates_at_once_one_writes(self, make: Callable[[], Blobs]) -> None:
        """Two workers with the same event cannot both believe that they wrote it."""
        path = f"{fresh()}/a.json"

        async def story(blobs: Blobs) -> None:
            results = await asyncio.gather(*(blobs.create(path, b"x", "one") for _ in range(8)))
            assert 1 == sum(results)

        tell(make, story)

    def test_replace_writes_whatever_was_there(self, make: Callable[[], Blobs]) -> None:
        """Nothing, or the output of an earlier run."""
        path = f"{fresh()}/a.json"

        async def story(blobs: Blobs) -> None:
            await blobs.replace(path, b"first")
            await blobs.replace(path, b"second")
            assert b"second" == await blobs.read(path)

        tell(make, story)

    def test_a_missing_blob_is_a_key_error(self, make: Callable[[], Blobs]) -> None:
        """Absence is an answer, not a failure of the sink."""
        path = f"{fresh()}/a.json"

        async def story(blobs: Blobs) -> None:
            with pytest.raises(KeyError, match=path):
                await blobs.read(path)

        tell(make, story)

    def test_paths_lists_a_folder_sorted(self, make: Callable[[], Blobs]) -> None:
        """Below the folder at any depth, and nothing of a folder whose name begins the same."""
        folder = fresh()
        names = [f"{folder}/day=0{day}/{name}.json" for day in (1, 2) for name in ("a", "b")]

        async def story(blobs: Blobs) -> None:
            for path in [*reversed(names), f"{folder}x/a.json"]:
                await blobs.create(path, b"x", "one")
            assert names == [path async for path in blobs.paths(folder)]
            assert names[2:] == [path async for path in blobs.paths(f"{folder}/day=02")]
            assert [] == [path async for path in blobs.paths(fresh())]

        tell(make, story)

    def test_a_probe_leaves_nothing_behind(self, make: Callable[[], Blobs]) -> None:
        """Not even when several ask at once; a blob whose name begins with `_` is hidden from readers of a lake."""

        async def story(blobs: Blobs) -> None:
            await asyncio.gather(*(blobs.probe() for _ in range(4)))
            await blobs.probe()
            if self.may_delete:
                with pytest.raises(KeyError):
                    await blobs.read(PROBE)

        tell(make, story)

    def test_awkward_ids_make_paths_of_their_own(self, make: Callable[[], Blobs]) -> None:
        """Each is written, read and listed under exactly the path that was asked for."""
        folder = fresh()
        names = [paths.blob(folder, "risk.evaluated", identity, "2026-03-14", "json") for identity in AWKWARD]

        async def story(blobs: Blobs) -> None:
            for path in names:
                assert await blobs.create(path, path.encode(), "one")
            assert [path.encode() for path in names] == [await blobs.read(path) for path in names]
            assert sorted(names) == [path async for path in blobs.paths(folder)]

        tell(make, story)


class DocumentContract:
    """A subclass gives the fixture `make`: a function that makes the sink."""

    def test_a_document_is_written_once(self, make: Callable[[], Documents]) -> None:
        """The second create of the same content says so."""
        document = usage()

        async def story(documents: Documents) -> None:
            assert await documents.create(USAGE, document)
            assert not await documents.create(USAGE, document)
            assert document == await content(documents, document)

        tell(make, story)

    def test_other_content_with_the_same_id_is_a_conflict(self, make: Callable[[], Documents]) -> None:
        """What was written first stays, and the second event learns of it."""
        document = usage()

        async def story(documents: Documents) -> None:
            await documents.create(USAGE, document)
            with pytest.raises(Reject) as refused:
                await documents.create(USAGE, {**document, "modelId": "another"})
            assert Never.CONFLICT == refused.value.reason
            assert f"{USAGE} holds another document {document['id']!r}" == refused.value.detail
            assert document == await content(documents, document)

        tell(make, story)

    def test_of_many_creates_at_once_one_writes(self, make: Callable[[], Documents]) -> None:
        """Two workers with the same event cannot both believe that they wrote it."""
        document = usage()

        async def story(documents: Documents) -> None:
            results = await asyncio.gather(*(documents.create(USAGE, document) for _ in range(8)))
            assert 1 == sum(results)

        tell(make, story)

    def test_an_id_belongs_to_its_partition(self, make: Callable[[], Documents]) -> None:
        """Two tenants may have the same id."""
        one = usage(tenantId="one")
        two = {**one, "tenantId": "two"}

        async def story(documents: Documents) -> None:
            assert await documents.create(USAGE, one)
            assert await documents.create(USAGE, two)
            assert one == await content(documents, one)
            assert two == await content(documents, two)

        tell(make, story)

    def test_upsert_writes_whatever_was_there(self, make: Callable[[], Documents]) -> None:
        """Nothing, or an older document."""
        document = usage()

        async def story(documents: Documents) -> None:
            await documents.upsert(USAGE, document)
            await documents.upsert(USAGE, {**document, "inferenceMs": 2.5})
            assert {**document, "inferenceMs": 2.5} == await content(documents, document)

        tell(make, story)

    def test_a_missing_document_is_none(self, make: Callable[[], Documents]) -> None:
        """Absence is an answer, not a failure of the sink."""

        async def story(documents: Documents) -> None:
            assert None is await documents.read(USAGE, "tenant", fresh())

        tell(make, story)

    def test_replace_needs_the_tag_that_the_document_has(self, make: Callable[[], Documents]) -> None:
        """Who read before somebody else wrote is told so, and changes nothing."""
        run = {"id": fresh(), "job": "risk-snapshot-backfill", "attempt": 1}

        async def story(documents: Documents) -> None:
            await documents.create(RUNS, run)
            stored = await documents.read(RUNS, run["job"], run["id"])
            assert stored
            tag = await documents.replace(RUNS, {**run, "attempt": 2}, stored.etag)
            with pytest.raises(Changed):
                await documents.replace(RUNS, {**run, "attempt": 3}, stored.etag)
            await documents.replace(RUNS, {**run, "attempt": 4}, tag)
            found = await documents.read(RUNS, run["job"], run["id"])
            assert found
            assert {**run, "attempt": 4} == found.document

        tell(make, story)

    def test_a_replace_whose_answer_was_lost_can_be_repeated(self, make: Callable[[], Documents]) -> None:
        """The document holds what was asked for, so its tag is the answer that never came."""
        run = {"id": fresh(), "job": "risk-snapshot-backfill", "attempt": 1}

        async def story(documents: Documents) -> None:
            await documents.create(RUNS, run)
            stored = await documents.read(RUNS, run["job"], run["id"])
            assert stored
            tag = await documents.replace(RUNS, {**run, "attempt": 2}, stored.etag)
            assert tag == await documents.replace(RUNS, {**run, "attempt": 2}, stored.etag)

        tell(make, story)

    def test_of_many_replaces_with_one_tag_one_wins(self, make: Callable[[], Documents]) -> None:
        """A lease cannot be taken by two workers."""
        run = {"id": fresh(), "job": "risk-snapshot-backfill", "owner": ""}

        async def story(documents: Documents) -> None:
            await documents.create(RUNS, run)
            stored = await documents.read(RUNS, run["job"], run["id"])
            assert stored
            tries = (documents.replace(RUNS, {**run, "owner": f"w{n}"}, stored.etag) for n in range(6))
            results = await asyncio.gather(*tries, return_exceptions=True)
            assert 1 == sum(isinstance(result, str) for result in results)
            assert 5 == sum(isinstance(result, Changed) for result in results)

        tell(make, story)

    def test_a_missing_document_cannot_be_replaced(self, make: Callable[[], Documents]) -> None:
        """It was deleted by somebody else."""
        run = {"id": fresh(), "job": "risk-snapshot-backfill"}

        async def story(documents: Documents) -> None:
            with pytest.raises(Changed):
                await documents.replace(RUNS, run, '"no such tag"')

        tell(make, story)

    def test_query_finds_equal_fields_in_every_partition(self, make: Callable[[], Documents]) -> None:
        """All conditions hold at once, and the sink's own fields are left out."""
        model = fresh()
        mine = [usage(tenantId=f"t{n}", modelId=model, inferenceMs=n % 2) for n in range(4)]

        async def story(documents: Documents) -> None:
            for document in [*mine, usage()]:
                await documents.create(USAGE, document)
            by_model = [document async for document in documents.query(USAGE, {"modelId": model})]
            odd = [document async for document in documents.query(USAGE, {"modelId": model, "inferenceMs": 1})]
            everything = [document async for document in documents.query(USAGE, {})]
            none = [document async for document in documents.query(USAGE, {"modelId": fresh()})]

            assert mine == sorted(by_model, key=lambda document: str(document["tenantId"]))
            assert [mine[1], mine[3]] == sorted(odd, key=lambda document: str(document["tenantId"]))
            assert [document for document in everything if document in mine]
            assert [] == none

        tell(make, story)

    def test_a_probe_leaves_nothing_behind(self, make: Callable[[], Documents]) -> None:
        """In none of the containers, and not even when several ask at once."""

        async def story(documents: Documents) -> None:
            for container in (USAGE, RUNS):
                await asyncio.gather(*(documents.probe(container) for _ in range(4)))
                await documents.probe(container)
                assert None is await documents.read(container, PROBE, PROBE)

        tell(make, story)

    def test_a_probe_needs_its_container(self, make: Callable[[], Documents]) -> None:
        """What cannot be written does not answer."""

        async def story(documents: Documents) -> None:
            with pytest.raises(Retry) as refused:
                await documents.probe("no_such_container")
            assert Later.SINK_REFUSED == refused.value.reason

        tell(make, story)

    def test_an_absent_container_is_named_with_the_next_step(self, make: Callable[[], Documents]) -> None:
        """A consumer never creates one."""

        async def story(documents: Documents) -> None:
            with pytest.raises(Retry) as refused:
                await documents.create("no_such_container", usage())
            assert Later.SINK_REFUSED == refused.value.reason
            assert "'no_such_container'" in refused.value.detail
            assert refused.value.detail.endswith("does not exist: run `pulumi up`, which creates it")

        tell(make, story)

    def test_awkward_ids_make_documents_of_their_own(self, make: Callable[[], Documents]) -> None:
        """Each is written and read under exactly the id that was asked for."""
        documents_ = [
            usage(id=paths.document(f"{identity}_{fresh()}"), tenantId=f"tenant {identity}"[:100])
            for identity in AWKWARD
        ]

        async def story(documents: Documents) -> None:
            for document in documents_:
                assert await documents.create(USAGE, document)
            assert documents_ == [await content(documents, document) for document in documents_]

        tell(make, story)


def usage(**changes: object) -> dict[str, object]:
    """A usage document with an id of its own."""
    return {"id": fresh(), "tenantId": "tenant", "modelId": "win-probability-v3", "inferenceMs": 37.5, **changes}


async def content(documents: Documents, document: Document) -> Document | None:
    stored = await documents.read(USAGE, document["tenantId"], document["id"])
    return stored and stored.document
