"""Physics backends: each steps N envs of one robot behind the `Simulator` protocol."""
