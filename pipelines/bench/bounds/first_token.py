"""From a question to its first token, beside the stock model's forward of the question behind the same cache."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from pipelines.bench.bounds.mix import copy_and_rotate
from pipelines.bench.bounds.sizes import Subject
from pipelines.bench.random_archive import write_videos
from pipelines.bench.rows.report import Row, row_of
from pipelines.bench.rows.timing import Seconds, Times, Work, in_turn
from videox2l.answering import Answer, AnswerEngine, EngineConfig, ResidentVideo
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.kv import MixedKV, mix
from videox2l.models.cache import to_cache
from videox2l.store import Archive, IndexReader
from videox2l.store.reads import plan_each

TARGET = 1.15

_STOCK = "the stock model over the question, behind the same cache"


def measure(subject: Subject, folder: Path, repeats: int, progress: Callable[[str], None]) -> Iterator[Row]:
    """About a resident video of each length: once more over the same chunks, and over others."""
    for chunks in subject.size.lengths:
        progress(f"first token: {chunks} chunks")
        with random_video(subject, folder / f"first-token-{chunks}", chunks) as asked:
            yield _again(asked, repeats)
            yield _anew(asked, repeats)
            yield _one_changed(asked, repeats)


@dataclass
class AskedVideo:
    """A video of random KVs in an archive, and ``chosen`` chunks of it in the middle.

    Wherever they lie, and however many of them, as many bytes are mixed.
    """

    subject: Subject
    reader: IndexReader
    root: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def chunks(self) -> int:
        return len(self.reader.manifest.chunks)

    @property
    def chosen(self) -> range:
        middle = self.chunks // 2
        return range(middle, middle + min(self.subject.size.detailed, self.chunks - middle))

    @property
    def selection(self) -> SelectionConfig:
        return SelectionConfig(f"{self.chosen[0]}-{self.chosen[-1]}")

    def memory(self) -> MixedKV:
        """What a question over the chosen chunks is answered from."""
        device, low = self.subject.device, self.reader.low_many(self.chosen)
        parts = [low.get(chunk, high).to(device=device) for chunk, high in enumerate(self.reader.high())]
        return mix(self.reader.prompt().to(device=device), parts, partial(self.subject.model.rope_tables, 0))

    def question(self) -> str:
        """Another one each time, of equal length."""
        return f"{next(self._numbers):05d}: which scene comes right after the red circle scene?"

    def bare(self, memory: MixedKV) -> Work:
        """The stock model's first token. Its cache is made beforehand."""
        model = self.subject.model
        ids_BT = torch.tensor([model.question_ids(self.question())], device=self.subject.device)
        cache = to_cache(memory)
        return lambda: model.decoder(ids_BT, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax().item()

    def ask(self, engine: AnswerEngine, video: ResidentVideo, selection: SelectionConfig | None = None) -> Work:
        """Ours, by its receipt: from the question's arrival on. By default over the ``chosen`` chunks."""
        question, selection = self.question(), selection or self.selection

        def work() -> Seconds:
            *_, answer = engine.stream(video, question, selection, GenerationConfig(1))
            assert isinstance(answer, Answer)
            return Seconds(answer.receipt.milliseconds["first_token"] / 1000)

        return work

    def read_low(self, chunks: Sequence[int]) -> list[bytes]:
        """These chunks' bytes, by plain reads."""
        found = []
        for part in plan_each(self.reader.manifest, "low", chunks).ranges:
            with (self.root / part.path).open("rb") as file:
                file.seek(part.offset)
                found.append(file.read(part.length))
        return found


class random_video:  # noqa: N801 - a context manager
    """An :class:`AskedVideo` of so many chunks in a new archive in ``folder``. No token ends an answer meanwhile."""

    def __init__(self, subject: Subject, folder: Path, chunks: int) -> None:
        archive = Archive.open(folder, create=True)
        [video_id] = write_videos(archive, subject.model, 1, chunks, subject.size.compression)
        self._asked = AskedVideo(subject, archive.open_index(video_id), folder)
        self._stop_ids = subject.model.stop_ids

    def __enter__(self) -> AskedVideo:
        self._asked.subject.model.stop_ids = frozenset()
        return self._asked

    def __exit__(self, *_: object) -> None:
        self._asked.subject.model.stop_ids = self._stop_ids


def _again(asked: AskedVideo, repeats: int) -> Row:
    """Over chunks that were chosen before: nothing is read or mixed."""
    memory, video = asked.memory(), ResidentVideo(asked.subject.model, asked.reader)
    # Conversations' KVs must not serve: the question is to be computed.
    with AnswerEngine(asked.subject.model, EngineConfig(conversation_bytes=0, mixed_bytes=2 * memory.nbytes)) as engine:
        ways = [partial(asked.ask, engine, video), partial(asked.bare, memory)]
        times = in_turn(ways, asked.subject.device, repeats)
    return _row(asked, "as before", times, _STOCK, TARGET, memory)


def _anew(asked: AskedVideo, repeats: int) -> Row:
    """Over chunks that nobody has asked about: their low KVs are read, and the memory is mixed."""
    memory, video = asked.memory(), ResidentVideo(asked.subject.model, asked.reader)
    tables = asked.subject.model.rope_tables(0, memory.tokens, asked.subject.dtype)

    def bound() -> Work:
        forward = asked.bare(memory)
        return lambda: (asked.read_low(asked.chosen), copy_and_rotate(memory, tables), forward())

    with AnswerEngine(asked.subject.model, EngineConfig(conversation_bytes=0, mixed_bytes=0)) as engine:
        times = in_turn([partial(asked.ask, engine, video), bound], asked.subject.device, repeats)
    return _row(asked, "chosen anew", times, f"{_STOCK}; plain reads, one copy, rotation", None, memory)


def _one_changed(asked: AskedVideo, repeats: int) -> Row:
    """The last of the chosen chunks is another one each time; the others have been asked about."""
    memory, video = asked.memory(), ResidentVideo(asked.subject.model, asked.reader)
    others, last = asked.chosen[:-1], itertools.cycle(range(asked.chosen[-1], asked.chunks))

    def changed() -> Work:
        chosen = [*others, next(last)]
        return asked.ask(engine, video, SelectionConfig(",".join(map(str, chosen))))

    def bound() -> Work:
        forward = asked.bare(memory)
        return lambda: (
            asked.read_low(asked.chosen[-1:]),
            memory.keys_LHTD.clone(),
            memory.values_LHTD.clone(),
            forward(),
        )

    # Room for two: when a chunk's turn comes again, its memory is gone.
    config = EngineConfig(conversation_bytes=0, mixed_bytes=2 * memory.nbytes)
    with AnswerEngine(asked.subject.model, config) as engine:
        times = in_turn([changed, bound], asked.subject.device, repeats)
    return _row(asked, "one of them new", times, f"{_STOCK}; one plain read, one copy", None, memory)


def _row(asked: AskedVideo, how: str, times: Times, bound: str, target: float | None, memory: MixedKV) -> Row:
    return row_of(
        times,
        part="first token",
        case=f"{asked.chunks} chunks, {len(asked.chosen)} in detail, {how}",
        chunks=asked.chunks,
        bound=bound,
        target=target,
        more={"memory tokens": memory.tokens},
    )
