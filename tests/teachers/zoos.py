"""A zoo of one entry."""

from tiny_runs import protege

RECIPE = "protege core train full_body_tracker/transformer_flat_terrain"
TRACK = {"episodes": 8, "success": 0.5, "success_ci": [0.2, 0.8], "error": 0.125, "error_ci": None}
EVALUATION = {"simulator": "mujoco", "tasks": {"track": TRACK}}
METRICS = {
    "mujoco/track/episodes": 8.0,
    "mujoco/track/success": 0.5,
    "mujoco/track/error": 0.125,
    "mujoco/track/success_low": 0.2,
    "mujoco/track/success_high": 0.8,
}


def one(changes: dict[str, object]) -> dict[str, object]:
    """`EVALUATION` with another result."""
    return {**EVALUATION, "tasks": {"track": {**TRACK, **changes}}}


def zoo(*words: object, code: int = 0) -> str:
    """Run `protege teachers zoo` and return its output. An error is one line and leaves stdout empty."""
    done = protege("teachers", "zoo", *words)
    assert done.exit_code == code, done.output
    if code == 2:
        assert done.stdout == "" and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        return done.stderr
    return done.stdout
