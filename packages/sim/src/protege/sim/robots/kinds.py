"""The names of the same things in a robot's description and in MuJoCo."""

from protege.core.robots.robot import GeomKind, LookKind

from ..engine import mujoco

GEOMS: dict[GeomKind, mujoco.mjtGeom] = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}
LOOKS: dict[LookKind, mujoco.mjtGeom] = {
    **GEOMS,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}
SIZES: dict[LookKind, int] = {"box": 3, "capsule": 2, "sphere": 1, "cylinder": 2, "ellipsoid": 3}
"""Number of values in the size of each shape."""
INTEGRATORS = {
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
}
CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
VISUAL, HIDDEN = 2, 3
"""Groups of shapes by MuJoCo's convention: visual shapes, and shapes that are hidden by default."""
