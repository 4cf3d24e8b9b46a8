"""``videox2l ask``: questions about a video, answered in this process, or in several that share the model.

One question, one a line of standard input, or, in a terminal, a conversation.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli import options, output
from pipelines.cli.answers import print_evidence, print_explanation, print_pieces
from pipelines.cli.option_groups import grouped
from pipelines.cli.prefill_options import Compression, Sampling
from pipelines.cli.question_options import Choice, Decoding

if TYPE_CHECKING:
    from pipelines.cli.asking import Asking, How


@grouped
def ask(
    video: Annotated[
        str,
        typer.Argument(
            help="A video file, or the id or name of a video in the archive. Without it: the archive's only one.",
            autocompletion=options.video_names,
        ),
    ] = "",
    question: Annotated[
        str | None,
        typer.Argument(help="What you want to know. Without it: a conversation, or a question a line from a pipe."),
    ] = None,
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    index: options.Index = None,
    model: options.Model = "tiny",
    choice: Choice = Choice(),
    explain: Annotated[
        bool, typer.Option("--explain", help="Ask again without each chunk that was read: does the answer need it?")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TIME",
            help="Ask only about the video from here on: seconds, `MM:SS`, `HH:MM:SS`, or a time by the clock such as "
            "`2026-11-21T08:00:00+01:00` where the recording's start is known.",
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Ask only about the video up to here.")] = None,
    decoding: Decoding = Decoding(),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print answers with all their evidence as JSON; from a pipe, one a line.")
    ] = False,
    sampling: Sampling = Sampling(),
    compression: Compression = Compression(),
    tensor_parallel: options.TensorParallel = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    storage_options: options.StorageOptions = None,
) -> None:
    """Ask about a video: one question, one a line from a pipe, or a conversation in the terminal.

    A file that is not in the archive yet is prefilled first, once; sampling and ratio options apply to that.

    `videox2l ask lecture.mp4 "What is written on the board?"`

    `videox2l ask lecture.mp4`  for a conversation; `/help` in it lists its commands

    `videox2l ask lecture.mp4 "Who speaks first?" --select 0-2 --json`

    `videox2l ask lecture.mp4 "Who speaks first?" --explain`

    `videox2l ask camera.mp4 "Is the gate open?" --from 1:30:00 --to 1:45:00`

    `videox2l ask lecture.mp4 --json < questions.txt > answers.jsonl`

    `videox2l ask lecture.mp4 "Who speaks first?" --model large/ --tensor-parallel 4`
    """
    from pipelines.cli.asking import Asking, How, ask_each, ask_once, is_file
    from videox2l.errors import QuestionError

    # Settings first: a typing error should not cost a prefill.
    if question is not None and not question.strip():
        raise QuestionError("the question is empty: ask something about the video")
    if question is None and (explain or tensor_parallel > 1):
        raise typer.BadParameter("--explain and --tensor-parallel take one question: give it behind the video")
    how = How(choice.config(), decoding.config(), from_, to)
    console, notes = output.console(), output.notes()
    asking = Asking(model, archive, sampling.config(), compression.config(model), device, dtype, storage_options, notes)
    if tensor_parallel > 1:
        assert question is not None, "checked above"
        if explain or index or not video:
            raise typer.BadParameter("--tensor-parallel takes a video and a question, without --explain and --index")
        _over_ranks(asking, tensor_parallel, video, question, how, console, as_json=as_json)
        return
    chat = question is None and sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    questions = iter(()) if chat or question is not None else _piped()
    with asking.library(create=is_file(video)) as library:
        if chat:
            from pipelines.cli.chat import Chat

            Chat(asking, library, how, console).run(video, index)
            return
        found = asking.video(library, video, index)
        asking.warn_uncalibrated(library, found, how.selection)
        if question is None:
            ask_each(found, questions, how, console, notes, as_json=as_json)
        elif explain:
            explanation = found.explain(question, **how.arguments())
            if as_json:
                typer.echo(explanation.to_json())
            else:
                print_explanation(explanation, console, notes)
        else:
            ask_once(found, question, how, console, notes, as_json=as_json)


def _piped() -> Iterator[str]:
    """Questions from standard input, one a line, as they come.

    :raises typer.BadParameter: there is none.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a line that is not UTF-8 must not end the others
    lines = (line.strip() for line in sys.stdin if line.strip())
    first = next(lines, None)
    if first is None:
        raise typer.BadParameter("no question: give one behind the video, or one a line on standard input")
    return itertools.chain([first], lines)


def _over_ranks(
    asking: Asking, ranks: int, video: str, question: str, how: How, console: Console, *, as_json: bool
) -> None:
    from pipelines.cli.ask_parallel import ask_over_ranks

    answer = ask_over_ranks(
        ranks,
        asking.model,
        video,
        question,
        asking.archive,
        selection=how.selection,
        generation=how.generation,
        time_range=how.time_range,
        sampling=asking.sampling,
        compression=asking.compression,
        device=asking.device,
        dtype=asking.dtype,
        storage_options=asking.storage_options,
        notes=asking.notes,
    )
    if as_json:
        typer.echo(answer.to_json())
    else:
        print_pieces([answer.text], console)
        print_evidence(answer, asking.notes)
