"""Policies of other projects, run in our loop by what their files say."""
