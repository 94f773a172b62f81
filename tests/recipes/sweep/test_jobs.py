"""Jobs of a sweep, with commands that need no Keras."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from recipes.common.console import duration
from recipes.common.files import write_checked, write_json
from recipes.common.locks import lock
from recipes.evaluate.settings import Evaluation
from recipes.sweep import jobs as the_jobs
from recipes.sweep.grid import Cell, Machine
from recipes.sweep.jobs import ROOT, Job, Outcome, Step, limit_threads, run_job, training_job
from recipes.sweep.pools import LocalPool, run_all
from recipes.sweep.watch import Watch

pytestmark = pytest.mark.once


def fake(folder, name, *what, **options):
    step = Step("tests.recipes.fake_step", (str(folder / name), *what), folder / name, **options)
    return Job(name, folder / name, (step,), epochs=1)


def starts(folder, name):
    return (folder / f"{name}.runs").read_text().splitlines()


def await_start(folder, name):
    while not (folder / f"{name}.runs").exists():
        time.sleep(0.05)


def run(jobs, workers=2):
    quiet = {"started": lambda job: None, "tick": lambda running: None}
    return run_all(jobs, LocalPool(workers), ended=lambda job, outcome: None, **quiet)


def test_done_job_is_not_run_again(tmp_path):
    job = fake(tmp_path, "a", "0")
    assert not job.is_done()
    assert run_job(job).state == run_job(job).state == "done"
    assert job.is_done() and len(starts(tmp_path, "a")) == 1


def test_started_job_is_resumed(tmp_path):
    job = fake(tmp_path, "a", "0", started=tmp_path / "begun")
    assert "--resume" not in job.steps[0].command()
    (tmp_path / "begun").touch()
    assert job.steps[0].command()[-1] == "--resume"


def test_result_with_other_settings_is_not_the_result(tmp_path):
    step = Step("m", (), tmp_path / "e.json", settings={"epsilon": 1.0})
    write_checked(tmp_path / "e.json", {"settings": {"epsilon": 2.0}})
    assert not step.is_done()
    write_checked(tmp_path / "e.json", {"settings": {"epsilon": 1.0}})
    assert step.is_done()


def test_failed_job_shows_the_end_of_its_log_and_is_tried_again(tmp_path):
    job = fake(tmp_path, "a", "fail")
    outcome = run_job(job)
    assert outcome.state == "failed"
    assert outcome.log_tail.splitlines()[-2:] == ["It is no use.", "--- ended with exit code 3"]
    run_job(job)
    assert len(starts(tmp_path, "a")) == 2
    assert job.log.read_text().count("It is no use.") == 2


def test_command_that_writes_nothing_has_failed(tmp_path):
    step = Step("tests.recipes.fake_step", (str(tmp_path / "a"), "0"), tmp_path / "other")
    outcome = run_job(Job("a", tmp_path / "a", (step,), epochs=1))
    assert outcome.state == "failed" and "without an error, but did not write" in outcome.log_tail


def test_later_steps_wait_for_earlier_ones(tmp_path):
    first, second = fake(tmp_path, "a", "fail").steps[0], fake(tmp_path, "b", "0").steps[0]
    assert run_job(Job("ab", tmp_path / "ab", (first, second), epochs=1)).state == "failed"
    assert not (tmp_path / "b.runs").exists()


def test_stopped_job_ends_at_once(tmp_path):
    stop = threading.Event()
    threading.Timer(1, stop.set).start()
    begin = time.monotonic()
    assert run_job(fake(tmp_path, "a", "60"), stop).state == "stopped"
    assert time.monotonic() - begin < 30


def test_a_job_that_takes_no_notice_is_ended_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(the_jobs, "_GRACE", 0.5)
    stop = threading.Event()
    threading.Thread(target=lambda: (await_start(tmp_path, "a"), stop.set())).start()
    begin = time.monotonic()
    assert run_job(fake(tmp_path, "a", "60", "deaf"), stop).state == "stopped"
    assert time.monotonic() - begin < 30
    lock(tmp_path / ".a.lock").close()


@pytest.fixture
def heard_ctrl_c():
    """A shell that starts these tests in the background lets them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_ctrl_c")
def test_a_second_ctrl_c_ends_workers_at_once_and_frees_their_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(the_jobs, "_GRACE", 600.0)
    pool = LocalPool(1)
    pool.submit(fake(tmp_path, "a", "60", "deaf"))
    await_start(tmp_path, "a")
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        pool.stop()
    assert time.monotonic() - begin < 30
    lock(tmp_path / ".a.lock").close()


def test_a_job_that_takes_too_long_has_failed_and_can_go_on(tmp_path):
    slow = dataclasses.replace(fake(tmp_path, "a", "60"), timeout=0.02)
    outcome = run_job(slow)
    assert outcome.state == "failed" and outcome.seconds < 30
    assert outcome.log_tail.splitlines()[-1] == "--- stopped after 0.02 minutes: --timeout"
    assert run_job(dataclasses.replace(fake(tmp_path, "a", "0"), timeout=10.0)).state == "done"


def test_each_job_of_a_machine_has_its_timeout(tmp_path):
    job = training_job(Cell(), tmp_path, Evaluation(), Machine(timeout=90.0))
    assert job.timeout == 90.0


def test_a_sweep_that_waits_says_once_for_whom(tmp_path, monkeypatch):
    monkeypatch.setattr(the_jobs, "_ORPHANS_END", 0.0)
    held = lock(tmp_path / ".a.lock")
    threading.Timer(2.0, held.close).start()
    job = fake(tmp_path, "a", "0")
    watch = Watch([job], Console(file=io.StringIO(), width=200))
    with watch:
        (outcome,) = run_all([job], LocalPool(1), watch.started, watch.ended, watch.tick)
    said = watch.console.file.getvalue()
    assert outcome.state == "done"
    assert said.count(f"waiting  a: process {os.getpid()} on") == 1


def test_two_at_a_time(tmp_path):
    outcomes = run([fake(tmp_path, name, "2") for name in "abc"])
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    begin = {name: float(starts(tmp_path, name)[0].split()[0]) for name in "abc"}
    end = {name: float((tmp_path / name).read_text()) for name in "abc"}
    assert max(begin["a"], begin["b"]) < min(end["a"], end["b"]) <= begin["c"]


def test_one_that_fails_does_not_keep_others_from_being_done(tmp_path):
    jobs = [fake(tmp_path, name, what) for name, what in (("a", "fail"), ("b", "0"), ("c", "0"))]
    states = {outcome.name: outcome.state for outcome in run(jobs, workers=1)}
    assert states == {"a": "failed", "b": "done", "c": "done"}


def test_two_sweeps_on_one_folder_run_nothing_twice(tmp_path):
    jobs = [fake(tmp_path, name, "1") for name in "abc"]
    sweeps = [threading.Thread(target=run, args=(jobs, 1)) for _ in range(2)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    assert [len(starts(tmp_path, name)) for name in "abc"] == [1, 1, 1]


def test_killed_sweep_leaves_no_process_behind(tmp_path):
    code = (
        "import pathlib, sys; from tests.recipes.sweep.test_jobs import fake, run_job; "
        "run_job(fake(pathlib.Path(sys.argv[1]), 'a', '60'))"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT) as process:
        await_start(tmp_path, "a")
        process.send_signal(signal.SIGKILL)
    # The lock is free as soon as the process that the killed one had started is gone.
    begin = time.monotonic()
    assert run_job(fake(tmp_path, "a", "0")).state == "done"
    assert time.monotonic() - begin < 30
    assert len(starts(tmp_path, "a")) == 2


def test_tethered_module_is_as_if_run_by_itself():
    with subprocess.Popen(
        [sys.executable, "-m", "recipes.sweep.tethered", "recipes.evaluate", "nowhere"],
        cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        # Before the other end of the input is closed.
        assert process.stderr.read() == "These are not finished runs: nowhere\n"
    assert process.returncode == 1


def test_training_job_trains_and_evaluates_a_cell(tmp_path):
    cell = Cell(dataset="digits", epochs=3)
    machine = Machine(threads=1, backend="jax", data_dirs={"digits": tmp_path / "data"})
    job = training_job(cell, tmp_path, Evaluation(attack_images=9), machine)
    train, evaluate = job.steps
    assert train.module == "recipes.train" and evaluate.module == "recipes.evaluate"
    words = " ".join(train.arguments)
    assert f"--output {tmp_path / cell.name}" in words and "--backend jax" in words
    assert f"--data-dir {tmp_path / 'data'}" in words
    assert "--attack-images 9" in " ".join(evaluate.arguments)
    assert job.environment["OMP_NUM_THREADS"] == job.environment["NPROC"] == "1"
    assert not job.is_done() and job.epochs_done() == 0
    write_json(job.folder / "history.json", {"loss": [2.0, 1.0]})
    assert job.epochs_done() == 2


def test_threads_are_limited_only_if_asked_for():
    assert limit_threads(None) == {}


# --- what one sees ---


def watched(terminal, tmp_path):
    seconds = iter(range(0, 1000, 60))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, soft_wrap=True)
    jobs = [Job(name, tmp_path / name, (), epochs=10) for name in "ab"]
    write_json(tmp_path / "a" / "history.json", {"loss": [0.0] * 5})

    # Not done, which a job without steps is.
    class Unfinished(Step):
        def is_done(self):
            return False

    step = Unfinished("m", (), tmp_path / "none")
    jobs = [Job(job.name, job.folder, (step,), epochs=10) for job in jobs]
    with Watch(jobs, console, lambda: next(seconds)) as watch:
        for job in jobs:
            watch.started(job)
        write_json(tmp_path / "a" / "history.json", {"loss": [0.0] * 8})
        watch.tick(jobs)
        watch.ended(jobs[0], Outcome("a", "done", 90.0))
        watch.ended(jobs[1], Outcome("b", "failed", 5.0, "It is no use."))
    return console.file.getvalue()


def test_lines_say_what_happened_and_how_long_the_rest_takes(tmp_path):
    said = watched(False, tmp_path)
    assert "started  a, after epoch 5\nstarted  b\n" in said
    # 3 epochs in 2 minutes, and 12 are left.
    assert "done     a  2 min, 1 of 2, about 8 min left" in said
    assert "failed   b  5 s, 2 of 2" in said
    assert f"{tmp_path / 'b.log'} ends with:\n    It is no use." in said


def test_terminal_shows_a_live_table(tmp_path):
    said = watched(True, tmp_path)
    assert "all runs" in said and "8 of 10 epochs" in said and "training" in said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "1 h 0 min"), (200_000, "2 d 7 h")],
)
def test_durations_are_read(seconds, text):
    assert duration(seconds) == text


def test_ray_runs_two_jobs_at_a_time(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipes.ray_jobs", tmp_path],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    states = {name: state for name, (state, _) in result["states"].items()}
    assert states == {"a": "done", "b": "done", "c": "failed", "d": "done"}
    assert "It is no use." in result["states"]["c"][1]
    assert result["most"] == 2
    begin = {name: float(starts(tmp_path, name)[0].split()[0]) for name in "ab"}
    end = {name: float((tmp_path / name).read_text()) for name in "ab"}
    assert max(begin.values()) < min(end.values())
