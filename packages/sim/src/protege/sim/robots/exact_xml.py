"""MJCF with every digit: MuJoCo writes six digits, which would change the robot when it is read back."""

import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from ..engine import mujoco

NUMBERS: dict[str, dict[str, str]] = {
    "body": {"pos": "pos", "quat": "quat"},
    "inertial": {"pos": "ipos", "quat": "iquat", "mass": "mass", "diaginertia": "inertia"},
    "joint": {
        **{name: name for name in ("axis", "range", "armature", "damping", "frictionloss")},
        "actuatorfrcrange": "actfrcrange",
    },
    "geom": {name: name for name in ("size", "pos", "quat", "friction")},
    "site": {"pos": "pos", "quat": "quat"},
    "general": {"gainprm": "gainprm", "biasprm": "biasprm"},
    "option": {"timestep": "timestep", "impratio": "impratio"},
}
"""For each element: the name of a number in MJCF, and its name in `MjSpec`."""


def exact_xml(spec: mujoco.MjSpec) -> str:
    """A compiled model as MJCF, with the exact numbers of bodies, joints, shapes and servos."""
    text = spec.to_xml()
    root = ElementTree.fromstring(text)
    for part in (root.find("option"), root.find("worldbody"), root.find("actuator")):
        if part is not None:
            _spell_out(part, None, _finders(spec))
    ElementTree.indent(root)
    return re.sub(r"\s+\n", "\n", ElementTree.tostring(root, encoding="unicode")) + "\n"


def _finders(spec: mujoco.MjSpec) -> dict[str, Callable[[str], Any]]:
    """For each element: a function that finds the spec's element with a given name."""
    return {"body": spec.body, "joint": spec.joint, "geom": spec.geom, "site": spec.site, "general": spec.actuator,
            "option": lambda _: spec.option}  # fmt: skip


def _spell_out(node: Element, body: Any, finders: dict[str, Callable[[str], Any]]) -> None:
    """Rewrite the numbers of an element and of all below it; `body`: the spec's body that contains the element."""
    item = body if node.tag == "inertial" else finders[node.tag](node.get("name", "")) if node.tag in finders else None
    for name, field in NUMBERS.get(node.tag, {}).items():
        shown = node.get(name, "").split()
        if shown and item is not None:
            values = np.atleast_1d(getattr(item, field)).tolist()
            node.set(name, " ".join(repr(float(value)) for value in values[: len(shown)]))
    for child in node:
        _spell_out(child, item if node.tag == "body" else body, finders)
