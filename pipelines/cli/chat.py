"""A conversation about a video in the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rich.console import Console

from pipelines.cli import options, output
from pipelines.cli.answers import print_pieces
from pipelines.cli.asking import Asking, How
from pipelines.cli.line_editing import editing_lines
from pipelines.cli.timeline import legend, spans_table, timeline
from videox2l.answering import Answer
from videox2l.answering.words import summary, warning_lines
from videox2l.config import Budget
from videox2l.errors import ConfigError, VideoNotFoundError, VideoX2LError
from videox2l.library import Conversation, Library, Video
from videox2l.selection import needs_scores, select

_PROMPT = "> "

# Videos listed at once; the rest is for `videox2l ls`.
_LISTED = 20

_HELP = {
    "/spans": "what the last answer read in detail, and what came next",
    "/explain": "ask the last question again without each chunk that it read",
    "/video NAME": "go on with another video: its name, id or file; alone: list them",
    "/select WHICH [K]": "what to read in detail: all, none, 0,4-6 or a scorer, as in --select; K: how many at most",
    "/budget LIMITS": "what a question may cost: chunks=2,bytes=4MiB,ms=500; off for no limit",
    "/part FROM [TO]": "ask only about this part, such as 90 or 1:30; - for an open side, off for all",
    "/new": "forget the conversation so far",
    "/help": "this list",
    "/quit": "leave, as Ctrl-D does; Ctrl-C stops an answer, twice in a row leaves",
}


class Chat:
    """Reads questions and commands until the user leaves. Errors are said, and the conversation goes on."""

    def __init__(self, asking: Asking, library: Library, how: How, console: Console) -> None:
        self._asking, self._library, self._how, self._console = asking, library, how, console
        self._conversation: Conversation | None = None
        self._last: tuple[How, Answer] | None = None
        self._commands: dict[str, Callable[[str], None]] = {
            "spans": self._spans,
            "explain": self._explain,
            "video": self._video,
            "select": self._select,
            "budget": self._budget,
            "part": self._part,
            "new": self._new,
            "help": self._help,
        }

    def run(self, video: str, index: str | None = None) -> None:
        """Until ``/quit``, Ctrl-D, or a second Ctrl-C. Begins with ``video``, of several indexes with this one."""
        self._begin(video, index)
        stopped = False
        names = [f"/{command}" for command in (*self._commands, "quit")]
        with editing_lines(names, lambda: [video.name for video in self._library.videos()]):
            while True:
                try:
                    line = input(_PROMPT).strip()
                    if line in ("/quit", "/exit"):
                        return
                    stopped = not self._handle(line) if line else False
                except EOFError:
                    self._console.print()
                    return
                except KeyboardInterrupt:
                    self._console.print()
                    if stopped:
                        return
                    stopped = True
                    self._say("Ctrl-C again, Ctrl-D or /quit leaves")

    def _begin(self, video: str, index: str | None) -> None:
        if video:
            self._switch(self._asking.video(self._library, video, index))
            return
        try:
            self._switch(self._asking.video(self._library, "", index))
        except VideoNotFoundError:
            if not self._library.videos():
                raise
            self._video("")

    def _handle(self, line: str) -> bool:
        """Do what ``line`` asks for; whether it came to its end."""
        try:
            if not line.startswith("/"):
                return self._ask(line)
            name, _, rest = line[1:].partition(" ")
            command = self._commands.get(name)
            if command is None:
                self._say(f"there is no command /{name}; /help lists them all")
            else:
                command(rest.strip())
        except VideoX2LError as error:
            self._console.print(f"[bold red]error:[/] {output.plain(str(error))}", soft_wrap=True)
        return True

    def _ask(self, question: str) -> bool:
        if self._conversation is None:
            self._say("choose a video first: /video NAME")
            return True
        stream = self._conversation.stream(question, **self._how.arguments())
        try:
            with stream:
                print_pieces(stream, self._console)
                answer = stream.answer
        except KeyboardInterrupt:
            self._console.print()
            self._say("stopped; it is no part of the conversation. Ctrl-C again leaves")
            return False
        self._last = self._how, answer
        for line in warning_lines(answer):
            self._console.print(line, style="yellow", markup=False, soft_wrap=True)
        if answer.chunks:
            self._console.print(timeline(answer, self._console))
        self._say(summary(answer))
        return True

    def _spans(self, _: str) -> None:
        if self._last is None:
            self._say("nothing was asked yet")
            return
        answer = self._last[1]
        self._console.print(timeline(answer, self._console))
        self._say(legend(answer))
        spans_table(answer, self._console)

    def _explain(self, _: str) -> None:
        if self._last is None or self._conversation is None:
            self._say("nothing was asked yet")
            return
        how = self._last[0]
        try:
            with self._console.status("asking again without each chunk"):
                explanation = self._conversation.explain(**how.arguments())
        except KeyboardInterrupt:
            self._say("stopped")
            return
        for line in explanation.lines():
            self._console.print(line, markup=False, soft_wrap=True)

    def _video(self, name: str) -> None:
        if name:
            self._switch(self._asking.video(self._library, name))
            return
        videos = self._library.videos()
        table = output.table("name", "duration>", "id")
        for video in videos[:_LISTED]:
            table.add_row(output.plain(video.name), output.clock(video.duration_s), video.id[:12])
        self._console.print(table)
        if len(videos) > _LISTED:
            self._say(f"and {len(videos) - _LISTED} more; `videox2l ls` shows all")
        self._say("choose one: /video NAME")

    def _select(self, text: str) -> None:
        which, _, count = text.partition(" ")
        if which:
            top_k = self._how.selection.top_k
            if count.strip():
                if not count.strip().isdecimal():
                    raise ConfigError(f"{count.strip()!r} is no number of chunks: write /select attention 3")
                top_k = int(count)
            wanted = dataclasses.replace(self._how.selection, select=which, top_k=top_k)
            if self._conversation is not None and not needs_scores(wanted):
                select(wanted, self._conversation.video.chunks, None)  # says what is no selection, or not there
            self._change(selection=wanted)
        self._say_how()

    def _budget(self, text: str) -> None:
        if text:
            budget = Budget() if text == "off" else options.budget(text)
            self._change(selection=dataclasses.replace(self._how.selection, budget=budget))
        self._say_how()

    def _part(self, text: str) -> None:
        if text == "off":
            self._change(start=None, end=None)
        elif text:
            start, _, end = text.partition(" ")
            open_side = ("", "-")
            self._change(
                start=None if start in open_side else start, end=None if end.strip() in open_side else end.strip()
            )
        self._say_how()

    def _new(self, _: str) -> None:
        if self._conversation is not None:
            self._switch(self._conversation.video)

    def _help(self, _: str) -> None:
        for command, said in _HELP.items():
            self._console.print(f"[bold]{output.plain(command):<19}[/] {output.plain(said)}")

    def _switch(self, video: Video) -> None:
        self._conversation, self._last = video.conversation(), None
        self._console.print(
            f"[bold]{output.plain(video.name)}[/], {output.clock(video.duration_s)}, "
            f"{output.many(video.chunks, 'chunk')}. Ask, or type /help."
        )

    def _change(self, **changes: object) -> None:
        self._how = dataclasses.replace(self._how, **changes)  # type: ignore[arg-type]

    def _say_how(self) -> None:
        selection = self._how.selection
        part = f"{self._how.start or 'the beginning'} to {self._how.end or 'the end'}"
        most = f", at most {selection.top_k}" if needs_scores(selection) else ""
        self._say(
            f"select {selection.select}{most}; budget {options.budget_words(selection.budget) or 'off'}; part {part}"
        )

    def _say(self, text: str) -> None:
        self._console.print(text, style="dim", markup=False, soft_wrap=True)
