"""Training runs: config, run folder, checkpoints, evaluation and the pipeline."""
