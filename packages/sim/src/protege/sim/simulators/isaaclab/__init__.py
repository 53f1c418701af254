"""Isaac Lab on Newton: a backend, and our environments as environments of Isaac Lab."""
