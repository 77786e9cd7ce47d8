"""`trunkline audit`: silent while all is well, and sure to say what is not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sinks.lake import Lake
from sinks.store.files import FileStore
from tests.flow.shell import Shell, append
from trunkline import topics
from trunkline.cli.audit import examine
from trunkline.cli.publishing import Publish
from trunkline.clock import SystemClock
from trunkline.outcome import Done
from trunkline.settings import Settings, TopicsSection
from trunkline.stream import Mark, Place, Record, Stream
from trunkline.stream.memory import MemoryStream
from trunkline.stream.memory_storage import MemoryStorage
from trunkline.worker import letters

PLACE: Place = (topics.CALLS, 0)


class Scene:
    """A stream of one partition a topic, its lake, and a group that has published all of it."""

    def __init__(self, store: FileStore, root: Path) -> None:
        self.store = store
        self.root = root
        self.storage = MemoryStorage()
        self.stream = MemoryStream(topics.specs(TopicsSection(partitions=1)), self.storage)
        self.publish = Publish(Lake(store), Settings())

    async def append(self, count: int, *, kind: str = "call.hangup") -> None:
        headers = (("ce_type", kind.encode()), ("ce_id", b"1"))
        record = Record(topics.CALLS, b"k", b"{}", headers, 1_767_225_595_000)
        assert await self.stream.append([record] * count) == [None] * count

    async def publish_all(self) -> None:
        """What lies between the mark and the end, in one cut, committed."""
        at = self.mark.next_offset
        waiting = self.storage.read(PLACE, at, 1_000)
        outcomes = await self.publish.handle(waiting)
        assert outcomes == [Done()] * len(waiting)
        self.mark = Mark(waiting[-1].offset + 1)

    @property
    def mark(self) -> Mark:
        return self.storage.mark("publish", PLACE)

    @mark.setter
    def mark(self, mark: Mark) -> None:
        self.storage.marks["publish", PLACE] = mark

    def files(self) -> list[Path]:
        return sorted(self.root.glob("lake/date=*/*/*.jsonl"))

    async def problems(self) -> list[str]:
        _, problems = await examine(self.stream, self.store, "", ["publish"])
        return problems


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with FileStore(tmp_path, SystemClock()) as store:
        made = Scene(store, tmp_path)
        await made.append(5)
        await made.publish_all()
        await made.append(5)
        await made.publish_all()
        yield made


async def test_nothing_is_wrong_where_every_event_is_in_the_lake_once(scene: Scene) -> None:
    await scene.append(3)  # not settled yet
    assert await scene.problems() == []
    tables, _ = await examine(scene.stream, scene.store, "", ["publish"])
    (row,) = [it for it in tables["publish"] if it.standing.place == PLACE]
    assert row.counts() == {
        "kept": 13,
        "settled": 10,
        "unsettled": 3,
        "dead": 0,
        "in_lake": 10,
        "missing": 0,
        "double": 0,
    }


async def test_the_lake_may_be_ahead_of_the_mark(scene: Scene) -> None:
    scene.mark = Mark(4)
    assert await scene.problems() == []


async def test_a_file_that_is_gone_is_missed_even_if_the_stream_has_forgotten(
    scene: Scene,
) -> None:
    scene.files()[0].unlink()
    assert await scene.problems() == [
        "telnyx.calls/0: settled, and not in the lake: 0-4",
    ]
    scene.storage.forget(PLACE, 8)
    assert await scene.problems() == [
        "telnyx.calls/0: settled, and not in the lake: 0-4",
    ]


async def test_a_mark_that_was_moved_past_events_is_found_out(scene: Scene) -> None:
    await scene.append(4)
    scene.mark = Mark(12)
    assert await scene.problems() == ["telnyx.calls/0: settled, and not in the lake: 10-11"]


async def test_a_line_that_is_there_twice_is_found(scene: Scene) -> None:
    first = scene.files()[0]
    twin = first.parent.parent / "kind=other" / first.name
    twin.parent.mkdir()
    twin.write_bytes(first.read_bytes().split(b"\n")[2] + b"\n")
    assert await scene.problems() == ["telnyx.calls/0: more than once in the lake: 2"]


async def test_what_does_not_belong_into_the_lake_is_named(scene: Scene) -> None:
    first, second = scene.files()
    line = first.read_bytes().split(b"\n")[0] + b"\n"
    first.with_name("x-0-00000000000000000020-00000000000000000029.jsonl").write_bytes(line)
    second.with_name("notes.txt").write_text("hello\n")
    second.write_bytes(second.read_bytes() + b"{]\n")
    problems = " ".join(await scene.problems())
    assert "00029.jsonl:1 does not belong there: 0:0" in problems
    assert "notes.txt is not a file of the lake" in problems
    assert f"{second.name}:6 is not a line of the lake" in problems


async def test_a_file_cut_short_is_not_a_file_of_the_lake(scene: Scene) -> None:
    last = scene.files()[-1]
    last.write_bytes(last.read_bytes()[:-10])
    problems = " ".join(await scene.problems())
    assert f"{last.name} is not a file of the lake" in problems
    assert "not in the lake: 5-9" in problems


async def test_the_lake_of_another_stream_is_recognised(scene: Scene) -> None:
    scene.storage.ends[PLACE] = (0, 6)
    del scene.storage.logs[PLACE][6:]
    scene.mark = Mark(6)
    assert await scene.problems() == [
        "telnyx.calls/0: 4 lines of the lake are beyond the end: of another stream"
    ]


async def test_offsets_that_hold_no_event_are_not_missed(scene: Scene) -> None:
    scene.storage.skip(PLACE, 3)
    await scene.append(2)
    await scene.publish_all()
    assert scene.mark == Mark(15)
    assert await scene.problems() == []


async def test_what_retention_took_unsettled_is_a_loss(scene: Scene) -> None:
    scene.mark = Mark(4)
    scene.storage.forget(PLACE, 6)
    (problem,) = await scene.problems()
    assert problem == "telnyx.calls/0: retention took 2 offsets before they were settled"


async def test_an_event_that_ended_in_a_letter_is_accounted_for(scene: Scene) -> None:
    await scene.append(2)
    dead, _ = scene.storage.read(PLACE, 10, 2)
    scene.mark = Mark(11)
    assert await scene.problems() != []
    letter = letters.write(dead, "publish", "no", None, 1_800_000_000.0, topic=topics.DEAD)
    assert await scene.stream.append([letter]) == [None]
    tables, problems = await examine(scene.stream, scene.store, "", ["publish"])
    assert problems == []
    assert sum(row.dead for row in tables["publish"]) == 1


async def commit(stream: Stream, place: Place, mark: Mark) -> None:
    class Anybody:
        def assigned(self, marks: object) -> None: ...
        def lost(self, places: object) -> None: ...
        async def revoked(self, places: object) -> None: ...

    membership = await stream.join([place[0]], "publish", Anybody())
    await membership.fetch(1, 0.1)
    await membership.commit({place: mark})
    await membership.close()


async def test_the_command_says_it_in_a_table_in_json_and_by_its_exit_code(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    async with shell.stream() as stream:
        await append(stream, [Record(topics.CALLS, b"k", b"{}", (), 0)] * 2)
        ((place, _),) = [it for it in (await stream.ends([topics.CALLS])).items() if it[1][1]]
        await commit(stream, place, Mark(1))

    done = shell.trunkline("audit")
    assert done.returncode == 1
    header, *rows, problem = done.stdout.splitlines()
    assert header.split()[:4] == ["group", "topic", "kept", "settled"]
    assert len(rows) == 5
    assert problem == f"telnyx.calls/{place[1]}: settled, and not in the lake: 0"

    told = json.loads(shell.trunkline("audit", "--json").stdout)
    assert told["problems"] == [problem]
    assert told["ok"] is False
    (row,) = [it for it in told["partitions"] if it["kept"]]
    assert (row["mark"], row["unsettled"], row["missing"]) == (1, 1, 1)

    assert "nothing is missing, nothing is there twice; 1 not settled yet" in shell.said(
        "audit", "publish", "--no-lake"
    )
    assert not shell.store.exists()


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [(["nonsense"], 2, "'nonsense' is none of publish"), ([], 3, "there is no stream at")],
)
def test_what_cannot_be_audited_is_a_sentence(
    tmp_path: Path, words: list[str], code: int, sentence: str
) -> None:
    shell = Shell(tmp_path)
    done = shell.trunkline("audit", *words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())
