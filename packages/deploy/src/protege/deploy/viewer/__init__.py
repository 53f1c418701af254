"""A page in the browser where the humanoid walks about: `protege-deploy view`. docs/viewer.md."""
