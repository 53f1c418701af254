"""pxr's own stubs say that every constructor returns None: every name of its modules is Any."""

from . import Gf, Sdf, Usd, UsdGeom, UsdPhysics, UsdShade

__all__ = ["Gf", "Sdf", "Usd", "UsdGeom", "UsdPhysics", "UsdShade"]
