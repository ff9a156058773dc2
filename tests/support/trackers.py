"""Trackers that write down what they are told."""

from types import SimpleNamespace

from polyvae.runs.trackers import Kind


class Recorded:
    """A run in a tracker: points, and in the end metrics and how it ended."""

    def __init__(self, library, run_id, settings, folder):
        self.run_id, self.settings, self.folder = run_id, settings, folder
        self.points, self.metrics, self.end = [], {}, None

    def log(self, step, numbers):
        self.points.append((step, numbers))

    def finish(self, metrics, end):
        self.metrics, self.end = metrics, end

    @staticmethod
    def kind():
        """(row of the table of trackers, list of the runs that it opens)."""
        told = []

        def opened(*how):
            told.append(Recorded(*how))
            return told[-1]

        return Kind("json", opened), told


def fake_wandb(calls):
    """A module with the calls of wandb that are used, in the order in which they come."""

    class Run:
        step = 0

        def __init__(self, **how):
            self.name = how["name"]
            self.summary = SimpleNamespace(update=lambda metrics: calls.append(("summary", self.name, metrics)))
            calls.append(("init", self.name, how))

        def log(self, numbers, step):
            assert step >= self.step, "wandb drops what goes back"
            self.step = step
            calls.append(("log", self.name, step, numbers))

        def finish(self, exit_code):
            calls.append(("finish", self.name, exit_code))

    return SimpleNamespace(init=Run, teardown=lambda: calls.append(("teardown",)))


def fake_trackio(calls):
    """A module with the calls of trackio that are used. As there, `init` ends the run that its context holds."""
    from contextvars import ContextVar

    current = ContextVar("current", default=None)

    class Run:
        def __init__(self, name):
            self.name, self.is_open = name, True

        def log(self, numbers, step):
            assert self.is_open
            calls.append(("log", self.name, step, numbers))

        def finish(self):
            self.is_open = False
            calls.append(("finish", self.name))

    def init(project, name, config, resume, embed):
        if current.get() is not None:
            current.get().finish()
        current.set(Run(name))
        calls.append(("init", name, config))
        return current.get()

    return SimpleNamespace(init=init)
