"""The report of a robustness test: one self-contained HTML page."""

import json
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.files import write_atomically

from ..page import display_names, page, svg_images
from ..plots import POLICY_COLORS
from .figures import success_curves
from .measure import DATA, SCHEMA_VERSION
from .table import amount, error_ratio, markdown, tips

PAGE, TABLE = "robustness.html", "robustness.md"


def write_report(folder: Path) -> Path:
    """Build robustness.html and the table robustness.md from robustness.json.

    Raises:
        UserError: robustness.json is missing, damaged, or of another version.
    """
    data = _load(folder)
    policies = data["policies"]
    html = page(
        PAGE,
        data=data,
        policies=policies,
        names=display_names(policies),
        colors=[POLICY_COLORS[i % len(POLICY_COLORS)] for i in range(len(policies))],
        curves=svg_images({"curves": success_curves(policies, data["pass_at"])})["curves"],
        rows=side_by_side(policies),
        error_ratio=error_ratio,
    )
    write_atomically(folder / TABLE, lambda file: file.write(markdown(data).encode()))
    write_atomically(folder / PAGE, lambda file: file.write(html.encode()))
    return folder / PAGE


def side_by_side(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the page's table: factor, value, and for each policy its result and a note on its tipping point."""
    rows = [_row("nominal", "", [policy["nominal"] for policy in policies])]
    for name in dict.fromkeys(factor["name"] for policy in policies for factor in policy["factors"]):
        by_policy = [next((x for x in policy["factors"] if x["name"] == name), None) for policy in policies]
        present = [x for x in by_policy if x is not None]
        nominal = present[0]["nominal"]
        values = sorted({p["value"] for x in present for p in x["points"]}, key=lambda value: abs(value - nominal))
        head = _row(present[0]["title"], "", [None] * len(policies))
        head["notes"] = ["" if x is None else _note(x) for x in by_policy]
        rows.append(head)
        for value in values:
            points = [
                next((p for p in (x or present[0])["points"] if x and p["value"] == value), None) for x in by_policy
            ]
            rows.append(_row("", amount(value, present[0]), points))
    if any(policy["together"] for policy in policies):
        rows.append(_row("all together, mild", "", [policy["together"] for policy in policies]))
    return rows


def _note(factor: dict[str, Any]) -> str:
    return f"not varied: {factor['absent']}" if factor["absent"] else f"tips over: {tips(factor)}"


def _row(name: str, value: str, points: list[Any]) -> dict[str, Any]:
    return {"name": name, "value": value, "points": points, "notes": [""] * len(points)}


def _load(folder: Path) -> dict[str, Any]:
    path = folder / DATA
    if not path.is_file():
        raise UserError(f"{path} is missing", "Make it with `protege distill robustness --output`")
    try:
        data = json.loads(path.read_text())
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{path} is damaged", "Test again") from error
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path} is of another version", "Test again")
    return data
