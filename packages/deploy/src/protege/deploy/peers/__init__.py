"""Policies of other projects in this control loop, configured by the metadata of their files."""
