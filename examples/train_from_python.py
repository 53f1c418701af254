"""Train a tracker from Python and read its log: `python examples/train_from_python.py [key.path=value ...]`.

This is the same as `protege core train full_body_tracker/laptop`. An existing run is resumed.
"""

import json
import sys

from protege.core.runs.experiments import EXPERIMENTS
from protege.core.runs.training import train

PRESET = "full_body_tracker/laptop"
SETTINGS = ["run.experiment_name=from_python", "run.max_time=120", "env.num_envs=128"]


def main() -> None:
    run = train(EXPERIMENTS["full_body_tracker"], PRESET, [*SETTINGS, *sys.argv[1:]])
    log = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for row in log[-5:]:
        length = row.get("episode/length", float("nan"))  # control steps; absent if no episode has ended
        print(f"iteration {row['iteration']}, {row['samples']} samples: episodes last {length:.1f} control steps")
    print("stopped, run me again" if run.interrupted else f"done: {run.folder / 'last.ckpt'}")


if __name__ == "__main__":
    main()
