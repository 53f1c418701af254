"""Pages of results, made from the templates beside this file; they share one style."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """A template filled with values, HTML on its own: nothing is fetched to show it."""
    loader = PackageLoader("protege.distill", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(template).render(values)
