"""Runs fake jobs on a local Ray: `python -m tests.recipes.ray_jobs FOLDER`. Prints the outcomes."""

import json
import pathlib
import sys

from recipes.sweep.grid import Machine
from recipes.sweep.jobs import Job, Step
from recipes.sweep.pools import make_pool, run_all


def main():
    folder = pathlib.Path(sys.argv[1])
    jobs = [
        Job(
            name,
            folder / name,
            (Step("tests.recipes.fake_step", (str(folder / name), what), folder / name),),
            epochs=1,
        )
        for name, what in (("a", "4"), ("b", "4"), ("c", "fail"), ("d", "0"))
    ]
    pool = make_pool(Machine(ray="local", workers=2, threads=1))
    most = 0

    def tick(running):
        nonlocal most
        most = max(most, len(running))

    outcomes = run_all(jobs, pool, lambda job: None, lambda job, outcome: None, tick)
    states = {outcome.name: [outcome.state, outcome.log_tail] for outcome in outcomes}
    print(json.dumps({"states": states, "most": most}))


if __name__ == "__main__":
    main()
