"""Motion import: a registry of importers. To add a format, write a file and a line here."""

from protege.core.errors import UserError

from .deepmimic import import_deepmimic
from .importer import Importer

IMPORTERS: dict[str, Importer] = {"deepmimic": Importer(import_deepmimic, "humanoid3d_{name}.txt")}
"""By the name of the format."""


def get_importer(name: str) -> Importer:
    """The importer of a format.

    Raises:
        UserError: naming those that there are.
    """
    if name not in IMPORTERS:
        raise UserError(f"no motion format {name!r}", f"Known: {', '.join(IMPORTERS)}")
    return IMPORTERS[name]
