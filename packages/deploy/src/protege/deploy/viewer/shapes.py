"""Triangle meshes of MuJoCo's primitive shapes, centred at the origin, with their axis along z. Triangles are counter-clockwise.

The library trimesh has these shapes, too, but its import takes longer than the rest of the viewer's start.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..geometry import Array

Mesh = tuple[Array, Array]
"""Vertices (V, 3), m, and the vertices of each triangle (F, 3). Shading is smooth where triangles share a vertex."""
SECTIONS = 32
"""Segments of a full circle; a multiple of four, so that shapes have their full width."""


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes[:-1])])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=True)]
    return np.vstack([vertices for vertices, _ in meshes]), np.vstack(faces)


def box(half_sizes: Array) -> Mesh:
    """A box with half its lengths, (3,) m. Its sides share no vertices."""
    square = np.array([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0], [1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    # The side at +x is turned onto the others: half a turn about z, and cyclic permutations of the axes.
    sides = [np.roll(square * sign, axis, axis=1) for axis in range(3) for sign in ((1.0, 1.0, 1.0), (-1.0, -1.0, 1.0))]
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    return joined([(side * half_sizes, faces) for side in sides])


def ball(half_sizes: Array) -> Mesh:
    """An ellipsoid with its semi-axes, (3,) m."""
    vertices, faces = _revolved(_arc(-0.5, 0.5))
    return vertices * half_sizes, faces


def capsule(radius: float, half_length: float) -> Mesh:
    """A cylinder between two half balls; the length, m, is that of the cylinder."""
    ends = [radius * _arc(*part) + [0.0, z] for part, z in (((-0.5, 0.0), -half_length), ((0.0, 0.5), half_length))]
    return _revolved(np.vstack(ends))


def cylinder(radius: float, half_length: float) -> Mesh:
    """A cylinder, m, whose edges are sharp."""
    outline = [[0.0, -half_length], [radius, -half_length], [radius, half_length], [0.0, half_length]]
    return joined([_revolved(np.array(part)) for part in pairwise(outline)])


def _arc(start: float, end: float) -> Array:
    """Points (P, 2) of the unit circle, the distance from the z axis and z, between two latitudes in units of pi."""
    latitude = np.pi * np.linspace(start, end, round(SECTIONS * (end - start) / 2) + 1)
    return np.stack([np.cos(latitude), np.sin(latitude)], axis=1)


def _revolved(outline: Array) -> Mesh:
    """The surface that an outline (P, 2), distance from the axis and height from the bottom up, describes around the z axis."""
    angle = 2.0 * np.pi / SECTIONS * np.arange(SECTIONS)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [np.column_stack([radius * around, np.full(SECTIONS, z)]) for radius, z in outline]
    here = np.arange((len(outline) - 1) * SECTIONS)
    beside = here // SECTIONS * SECTIONS + (here + 1) % SECTIONS
    faces = [
        np.stack([here, beside, beside + SECTIONS], axis=1),
        np.stack([here, beside + SECTIONS, here + SECTIONS], axis=1),
    ]
    return np.vstack(rings), np.vstack(faces)
