"""Shows the progress of a sweep: a live table on a terminal, otherwise lines. No Keras."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

from ..common.console import duration, plain_console
from .jobs import Job, Outcome


class Watch:
    """Follows the jobs of a sweep.

    Args:
        jobs: List of the jobs to run.
        console: A `rich` console. Defaults to the standard output.
        clock: Function that returns seconds.
    """

    def __init__(self, jobs: list[Job], console: Console | None = None, clock=time.monotonic):
        self.console = console or plain_console(soft_wrap=True)
        self._live = self.console.is_terminal
        self._clock, self._begin = clock, clock()
        self._total = sum(job.epochs for job in jobs)
        self._done = {job.name: job.epochs_done() for job in jobs}
        self._at_begin = sum(self._done.values())
        self._jobs, self._ended = len(jobs), 0
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TaskProgressColumn("{task.completed:.0f} of {task.total:.0f} epochs"),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            expand=True,
            disable=not self._live,
        )
        self._all = self._progress.add_task("all runs", total=self._total, note="")
        self._tasks = {}
        self._said = set()

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    def started(self, job: Job) -> None:
        done = self._done[job.name]
        if self._live:
            self._tasks[job.name] = self._progress.add_task(
                job.name, total=job.epochs, completed=done, note="starting"
            )
        else:
            self.console.print(f"started  {job.name}" + (f", after epoch {done}" if done else ""))

    def ended(self, job: Job, outcome: Outcome) -> None:
        if self._live:
            self._progress.remove_task(self._tasks.pop(job.name))
        if outcome.state == "busy":
            self.name_once(f"waiting  {job.name}: {outcome.log_tail} is running it")
            return
        if outcome.state == "failed":
            # This call will not run it again.
            self._total -= job.epochs - self._done[job.name]
        else:
            self._done[job.name] = job.epochs_done()
        self._ended += 1
        styles = {"done": "green", "failed": "bold red", "stopped": "yellow"}
        line = Text(f"{outcome.state:8} {job.name}", styles[outcome.state])
        left = self._left()
        line.append(
            f"  {duration(outcome.seconds)}, {self._ended} of {self._jobs}"
            + (f", {left} left" if left else ""),
            "default",
        )
        self.console.print(line)
        if outcome.log_tail:
            self.console.print(Text(f"{job.log} ends with:", "red"))
            self.console.print(Text(_indented(outcome.log_tail)))

    def name_once(self, message: str) -> None:
        """Prints a line only the first time."""
        if message not in self._said:
            self._said.add(message)
            self.console.print(message)

    def tick(self, running: list[Job]) -> None:
        for job in running:
            epochs = job.epochs_done()
            self._done[job.name] = max(epochs, self._done[job.name])
            if job.name in self._tasks:
                note = "evaluating" if epochs == job.epochs else "training"
                self._progress.update(self._tasks[job.name], completed=epochs, note=note)
        left = self._left()
        self._progress.update(
            self._all,
            total=self._total,
            completed=sum(self._done.values()),
            note=f"{left} left" if left else "",
            refresh=self._live,
        )

    def _left(self):
        """Returns the estimated time for the rest, or "" if there is no estimate yet."""
        done = sum(self._done.values())
        if done <= self._at_begin or done >= self._total:
            return ""
        speed = (done - self._at_begin) / (self._clock() - self._begin)
        return f"about {duration((self._total - done) / speed)}"


def _indented(text):
    return "\n".join(f"    {line}" for line in text.splitlines())
