"""A page in the browser where a simulated humanoid is steered: `protege-deploy view`. docs/viewer.md."""
