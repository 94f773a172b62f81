"""Run the jobs of a sweep in processes of this machine, or on a Ray cluster."""

import concurrent.futures
import os
import threading
from collections.abc import Callable

from ..common.command_line import how_to_install
from .grid import Machine
from .jobs import Job, Outcome, python_path, run_job


class LocalPool:
    """Runs jobs in processes of this machine, `workers` at the same time."""

    def __init__(self, workers: int):
        self.workers = workers
        self._stop, self._kill = threading.Event(), threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(workers)
        self._running = set()

    def submit(self, job: Job) -> None:
        self._running.add(self._threads.submit(run_job, job, self._stop, self._kill))

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the jobs that ended. Waits for at most `timeout` seconds."""
        first = concurrent.futures.FIRST_COMPLETED
        ended, self._running = concurrent.futures.wait(self._running, timeout, first)
        return [future.result() for future in ended]

    def stop(self) -> None:
        """Stops the running jobs, like Ctrl-C, and returns when they have ended.

        A second Ctrl-C kills them at once.
        """
        self._stop.set()
        # Wait for the jobs, not for the threads: if Ctrl-C interrupts the wait for a thread,
        # Python believes that the thread has ended.
        try:
            concurrent.futures.wait(self._running)
        except KeyboardInterrupt:
            self._kill.set()
            concurrent.futures.wait(self._running)
            raise
        finally:
            self._threads.shutdown()


class RayPool:
    """Runs jobs as tasks of a Ray cluster. Its CPUs and GPUs limit how many run at once."""

    def __init__(self, address: str | None, workers: int, threads: int, gpus: float):
        """
        Args:
            address: Address of a cluster, or `None` for a new cluster of `workers · threads` CPUs
                on this machine. The new cluster ends with the pool.
        """
        try:
            import ray
        except ImportError:
            raise SystemExit(f"--ray needs Ray. Run: {how_to_install('ray')}") from None
        self._ray = ray
        # The worker processes import `recipes` from here.
        environment = {"env_vars": {"PYTHONPATH": python_path()}}
        # Ray would start workers with `uv run`, and hide GPUs from tasks that request none.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        options = {"runtime_env": environment, "log_to_driver": False, "logging_level": "error"}
        if address is None:
            ray.init(num_cpus=workers * threads, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
        resources = ray.cluster_resources()
        self.workers = int(resources.get("CPU", 0) // threads)
        if gpus:
            self.workers = min(self.workers, int(resources.get("GPU", 0) // gpus))
        if self.workers < 1:
            ray.shutdown()
            raise SystemExit(
                f"The Ray cluster is too small for a run with {threads} CPUs and {gpus:g} GPUs. "
                f"It has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs."
            )
        # If a worker dies, its run has failed. The next call of the sweep resumes the run.
        self._task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(run_job)
        self._running = {}

    def submit(self, job: Job) -> None:
        self._running[self._task.options(name=job.name).remote(job)] = job

    def wait(self, timeout: float) -> list[Outcome]:
        """Returns the jobs that ended. Waits for at most `timeout` seconds."""
        ended, _ = self._ray.wait(list(self._running), timeout=timeout)
        return [self._outcome(task) for task in ended]

    def _outcome(self, task):
        job = self._running.pop(task)
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return Outcome(job.name, "failed", log_tail=str(error).strip())

    def stop(self) -> None:
        """Ends the running jobs, and leaves the cluster."""
        for task in self._running:
            # With force: the tethered process ends with the worker, and loses one epoch at most.
            self._ray.cancel(task, force=True)
        self._ray.wait(list(self._running), num_returns=len(self._running), timeout=10)
        self._ray.shutdown()


def make_pool(machine: Machine) -> LocalPool | RayPool:
    """Returns the pool for the settings of a machine.

    Raises:
        SystemExit: If Ray is needed and is missing, or its cluster is too small for a run.
    """
    if machine.ray is None:
        return LocalPool(machine.workers)
    address = None if machine.ray == "local" else machine.ray
    return RayPool(address, machine.workers, machine.threads, machine.gpus)


def run_all(
    jobs: list[Job],
    pool: LocalPool | RayPool,
    started: Callable[[Job], None],
    ended: Callable[[Job, Outcome], None],
    tick: Callable[[list[Job]], None],
) -> list[Outcome]:
    """Runs jobs and returns how each ended. The pool limits how many run at the same time.

    Args:
        jobs: List of `Job`s.
        pool: Stopped when this function returns, or is interrupted.
        started: Called with each job that starts.
        ended: Called with each job that has ended, and its outcome.
        tick: Called with the running jobs, about twice a second.

    Raises:
        KeyboardInterrupt: After the running jobs were stopped.
    """
    waiting, running, outcomes = list(jobs), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < pool.workers:
                job = waiting.pop(0)
                running[job.name] = job
                started(job)
                pool.submit(job)
            for outcome in pool.wait(timeout=0.5):
                job = running.pop(outcome.name)
                if outcome.state == "busy":
                    # Another sweep in this folder runs it. Try again later to see its end.
                    waiting.append(job)
                else:
                    outcomes.append(outcome)
                ended(job, outcome)
            tick(list(running.values()))
    finally:
        pool.stop()
    return outcomes
