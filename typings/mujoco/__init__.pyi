"""MuJoCo's names live in compiled modules that carry no types: every one of them is Any."""

from typing import Any

def __getattr__(name: str) -> Any: ...
