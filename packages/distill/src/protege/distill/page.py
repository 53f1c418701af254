"""HTML pages of results, rendered from the templates beside this file, which share one style sheet."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from protege.core.runs.checkpoint import ZOO


def page(template: str, **values: Any) -> str:
    """Render a template to a self-contained HTML page, which loads no other files."""
    loader = PackageLoader("protege.distill", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(values)


def svg_images(figures: Mapping[str, str]) -> dict[str, str]:
    """SVG texts as base64 text, for images within a page."""
    return {name: base64.b64encode(svg.encode()).decode() for name, svg in figures.items()}


def display_names(policies: Sequence[Mapping[str, Any]]) -> list[str]:
    """The display name of each policy: its run's name, or its checkpoint for releases and if two runs have the same name."""
    names = [x["checkpoint"] if x["checkpoint"].startswith(ZOO) else x["name"] or x["checkpoint"] for x in policies]
    return names if len(set(names)) == len(names) else [policy["checkpoint"] for policy in policies]
