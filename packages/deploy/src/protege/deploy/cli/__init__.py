"""The command line `protege-deploy`."""
