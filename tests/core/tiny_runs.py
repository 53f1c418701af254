"""Trainings of the real robot that take a second: 8 envs, small networks, a few steps."""

from pathlib import Path

from click.testing import CliRunner, Result

from protege.core.cli.umbrella import main

TRACKER = "full_body_tracker/transformer_flat_terrain"
WORLDS = ["env.num_envs=8", "env.num_plans=8", "env.history_steps=2", "run.num_threads=1", "run.device=cpu"]
ROLLOUT = ["agent.rollout_steps=4", "agent.epochs=1", "agent.minibatches=2"]
MODEL = ["latent_dim=16", "ff_size=16", "num_layers=1", "num_heads=2", "mlp_units=[16]", "critic_units=[16]"]
TINY = [*WORLDS, *ROLLOUT, *MODEL]
"""Overrides of a tracker or a teacher."""
TINY_MASKED_MIMIC = [*WORLDS, *ROLLOUT, *(f"agent.{x}" for x in MODEL if x.split("=")[0] not in ("mlp_units",)),
                     "prior_units=[16]", "encoder_units=[16]", "decoder_units=[16]", "latent_size=4"]  # fmt: skip
"""Overrides of MaskedMimic."""


def protege(*words: object) -> Result:
    """Run the umbrella command in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def train(preset: str, results: Path, name: str, *words: object, package: str = "core") -> Path:
    """Train with the tiny config, followed by `words`. Returns the run's folder."""
    tiny = TINY_MASKED_MIMIC if preset.startswith("masked_mimic") else TINY
    where = ["--results-dir", results, "--experiment-name", name]
    result = protege(package, "train", preset, *where, *tiny, *words)
    assert result.exit_code == 0, result.output
    return results / name


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
