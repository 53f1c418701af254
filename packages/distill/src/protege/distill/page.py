"""HTML pages of results, rendered from the templates beside this file, which share one style sheet."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """Render a template to a self-contained HTML page, which loads no other files."""
    loader = PackageLoader("protege.distill", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(values)
