"""The panels, keys and clicks of the page, and their orders."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import viser

from ..commands.registry import KINDS, POINT_ORDER, VELOCITY_ORDER, WAYPOINT_ORDER
from ..errors import DeployError
from ..policy.metadata import Modality
from .clip_files import DROP_SCRIPT, UPLOAD_HINT, UPLOAD_LABEL, ClipFiles, file_name
from .conditions import Conditions
from .film import FILM_BUTTON
from .ground import FLAT, kinds
from .group import Group
from .push_handle import PushHandle
from .scene import FEET_NODE, Scene

MAX_PATH_SPEED, SPEED_STEP, TURN_STEP = 1.5, 0.25, 15.0
"""Largest speed of a path, m/s; change of speed, m/s, and direction, degrees, per key press."""
DEFAULT_PUSH, MAX_PUSH = 240.0, 600.0
"""Force of a push, N: the default, as in `protege distill evaluate --push`, and the largest."""
CONDITION_SLIDERS: dict[str, tuple[str, float, float, float, float]] = {
    "friction": ("friction, x", 0.1, 2.0, 0.05, 1.0),
    "strength": ("motor strength, x", 0.2, 1.0, 0.05, 1.0),
    "payload": ("payload, kg", 0.0, 30.0, 1.0, 1.0),
    "delay": ("delay, ms", 0.0, 60.0, 1.0, 1e-3),
    "joint_vel_noise": ("joint velocity noise, rad/s", 0.0, 3.0, 0.1, 1.0),
}
"""Sliders by the field of `Conditions` that each sets: label, least, most, step, and the slider's unit in the field's."""
STICK_NODE = f"{FEET_NODE}/stick"


class Controls:
    """Panels, keys and clicks.

    Args:
        server: of the page.
        group: the simulations; they receive the orders.
        scene: finds the point on the ground of a click.
        clips: files, or names of shipped clips, that the page offers.
    """

    def __init__(self, server: viser.ViserServer, group: Group, scene: Scene, clips: list[str]) -> None:
        self._server, self._gui, self._group, self._scene = server, server.gui, group, scene
        self._points = list[tuple[float, float]]()
        self._files = ClipFiles()
        self.speed, self.direction = 0.0, 0.0
        if not group.together:
            self._students(list(group.lead.students))
        tabs = self._gui.add_tab_group()
        raw = [modality for modality in group.metadata.modalities if modality.inputs and modality.name not in KINDS]
        for name, fill in (
            ("steer", self._steering),
            (f"{WAYPOINT_ORDER.name}, {POINT_ORDER.name}", self._clicks),
            ("clip", partial(self._clips, clips)),
            ("conditions", self._conditions),
            *((modality.name, partial(self._raw, modality)) for modality in raw),
        ):
            with tabs.add_tab(name):
                fill()
        self._upload()
        self._rest()
        self._keys()

    # Panels -----------------------------------------------------------------------------------------------------------------

    def _students(self, names: list[str]) -> None:
        chosen = self._gui.add_dropdown("student", names, initial_value=self._group.lead.student)

        def switch() -> None:
            try:
                self._group.lead.switch(chosen.value)
            except DeployError:
                chosen.value = self._group.lead.student
                raise
            self._halt()

        @chosen.on_update
        def _(event: Any) -> None:
            if event.client is None:
                return  # set below, not by a person
            self._try(switch)

    def _steering(self) -> None:
        self._speed = self._gui.add_slider("speed, m/s", *self._group.lead.speeds, 0.05, 0.0)
        self._turn = self._gui.add_slider("direction, °", -180.0, 180.0, 1.0, 0.0)
        self._gui.add_markdown(
            "**I K** faster, slower; **J L** turn; **X** stand. Or drag the stick at its feet. The handle at its root pushes."
        )
        self._stick = self._server.scene.add_transform_controls(
            STICK_NODE, scale=0.6, active_axes=(True, True, False), disable_rotations=True, position=(0.0, 0.0, 0.05)
        )
        for handle in (self._speed, self._turn):
            handle.on_update(lambda event: self._by_page(event, self._speed.value, self._turn.value))

        @self._stick.on_update
        def _(_: Any) -> None:
            x, y, _z = self._stick.position
            self.steer(float(np.hypot(x, y)), float(np.degrees(np.arctan2(y, x))), move_stick=False)

    def _clicks(self) -> None:
        self._click = self._gui.add_dropdown(
            "a click is", [f"a {POINT_ORDER.name}", f"a point of a {WAYPOINT_ORDER.name}"]
        )
        self._pace = self._gui.add_slider("speed, m/s", 0.3, MAX_PATH_SPEED, 0.05, 1.0)
        walk, clear = self._gui.add_button("walk the path"), self._gui.add_button("clear the path")
        walk.on_click(lambda _: self.walk())
        clear.on_click(lambda _: self._draw([]))

        @self._server.scene.on_click()
        def _(event: viser.SceneClickEvent) -> None:
            point = self._scene.ground(np.array(event.ray_origin), np.array(event.ray_direction))
            if point is not None:
                self.clicked(point)

    def _clips(self, clips: list[str]) -> None:
        self._clip_of = dict[str, str]()
        for clip in clips:
            stem = PurePath(clip).stem
            self._offer(stem.partition("_humanoid_")[2] or stem, clip)
        self._clip = self._gui.add_dropdown("clip", list(self._clip_of) or ["none"])
        self._as_ghost = self._gui.add_checkbox(
            "without physics", False, hint="as a ghost beside the robot; the robot goes on as it was ordered"
        )
        self._play = self._gui.add_button("play", disabled=not clips)
        self._play.on_click(lambda _: self._try(lambda: self.play(self._clip_of[self._clip.value])))

    def _upload(self) -> None:
        """The upload button. It is outside of the tabs because a page has only the open tab's elements."""
        button = self._gui.add_upload_button(UPLOAD_LABEL, mime_type=".npy", hint=UPLOAD_HINT)
        self._gui.add_html(DROP_SCRIPT)

        @button.on_upload
        def _(_: Any) -> None:
            file = button.value  # read once: another page's upload may replace it
            self._try(lambda: self.take(file.name, file.content))

    def _raw(self, modality: Modality) -> None:
        """Text fields for the model inputs of a modality without its own panel."""
        specs = [spec for spec in self._group.metadata.inputs if spec.name in modality.inputs]
        texts = {
            spec.name: self._gui.add_text(
                f"{spec.name}, {spec.unit}", json.dumps(np.zeros(spec.shape).tolist()), hint=spec.meaning
            )
            for spec in specs
        }
        self._gui.add_button("order").on_click(lambda _: self._try(lambda: self._order_raw(modality.name, texts)))

    def _order_raw(self, mode: str, texts: dict[str, Any]) -> None:
        try:
            inputs = {name: json.loads(text.value) for name, text in texts.items()}
        except ValueError as error:
            raise DeployError(f"{mode}: {error}", "Give numbers, in brackets where there are several") from error
        self._group.order({mode: inputs})

    def _conditions(self) -> None:
        """The ground, and sliders for the conditions of robot and floor."""
        ground = self._gui.add_dropdown("ground", kinds(), initial_value=self._group.lead.ground.kind)
        ground.on_update(lambda _: self._try(lambda: self._set_ground(ground.value)))
        sliders = {
            name: self._gui.add_slider(label, least, most, step, getattr(Conditions(), name) / unit)
            for name, (label, least, most, step, unit) in CONDITION_SLIDERS.items()
        }

        def apply() -> None:
            values = {name: slider.value * CONDITION_SLIDERS[name][-1] for name, slider in sliders.items()}
            self._group.set_conditions(Conditions(**values))

        def clear() -> None:
            ground.value = FLAT
            for name, slider in sliders.items():
                slider.value = getattr(Conditions(), name) / CONDITION_SLIDERS[name][-1]
            apply()

        for slider in sliders.values():
            slider.on_update(lambda _: apply())
        self._gui.add_button("as exported").on_click(lambda _: clear())

    def _set_ground(self, kind: str) -> None:
        if kind != self._group.lead.ground.kind:
            self._halt()
            self._group.set_ground(kind)

    def _time(self) -> None:
        """Pause, single steps and slow motion."""
        self._pause = self._gui.add_checkbox("pause", False)
        self._gui.add_button("one control step").on_click(lambda _: self.step())
        speed = self._gui.add_slider("time, x", 0.1, 1.0, 0.1, 1.0)
        self._pause.on_update(lambda _: self._group.pause(self._pause.value))
        speed.on_update(lambda _: self._group.set_time_rate(speed.value))

    def _rest(self) -> None:
        self._force = self._gui.add_slider("push, N", 20.0, MAX_PUSH, 20.0, DEFAULT_PUSH)
        self._side = self._gui.add_button_group("push", ("forward", "left", "right", "back"))
        act = self._gui.add_button_group("robot", ("stand", "reset"))
        follow = self._gui.add_checkbox("camera follows", True)
        angles = {"forward": 0.0, "left": 90.0, "back": 180.0, "right": -90.0}
        self._side.on_click(lambda _: self.push(angles[self._side.value]))
        aim = partial(setattr, self._force, "value")
        self._handle = PushHandle(self._server.scene, MAX_PUSH, aim, self._group.push)
        act.on_click(lambda _: self.stand() if act.value == "stand" else self.reset())
        follow.on_update(lambda _: setattr(self._scene, "follow", follow.value))
        contacts = self._gui.add_checkbox("contact forces", False)
        contacts.on_update(lambda _: self._group.show_contacts(contacts.value))
        reference = self._gui.add_checkbox(
            "ghost of the reference", True, hint="the poses of the clip that the robot is to be in"
        )
        reference.on_update(lambda _: self._group.show_reference(reference.value))
        self._gui.add_html(FILM_BUTTON)
        with self._gui.add_folder("time", expand_by_default=False):
            self._time()

    def _keys(self) -> None:
        """Hotkeys, which are also entries of viser's command palette. The arrows and W, A, S, D, Q, E move viser's camera."""
        keys: list[tuple[str, Any, Callable[[], None]]] = [
            ("faster", "I", lambda: self.steer(self.speed + SPEED_STEP, self.direction)),
            ("slower", "K", lambda: self.steer(self.speed - SPEED_STEP, self.direction)),
            ("turn left", "J", lambda: self.steer(self.speed, self.direction + TURN_STEP)),
            ("turn right", "L", lambda: self.steer(self.speed, self.direction - TURN_STEP)),
            ("stand", "X", self.stand),
            ("push", "P", lambda: self.push(90.0)),
            ("reset", "R", self.reset),
            ("pause, go on", "M", lambda: self.pause(not self._group.paused)),
            ("one control step", "N", self.step),
        ]
        for label, key, act in keys:
            self._gui.add_command(label, hotkey=key).on_trigger(lambda _, act=act: act())

    # Orders -----------------------------------------------------------------------------------------------------------------

    def steer(self, speed: float, direction: float, *, move_stick: bool = True) -> None:
        """Order a velocity: speed in m/s, direction in degrees to the left of the world's x axis."""
        self._speed.min, self._speed.max = self._group.lead.speeds  # another student may be faster
        self.speed = min(max(speed, self._speed.min), self._speed.max)
        self.direction = (direction + 180.0) % 360.0 - 180.0
        self._speed.value, self._turn.value = self.speed, self.direction
        if move_stick:
            angle = np.radians(self.direction)
            self._stick.position = (self.speed * np.cos(angle), self.speed * np.sin(angle), 0.05)
        self._order({VELOCITY_ORDER.name: {"direction": self.direction, "speed": self.speed, "frame": "world"}})

    def take(self, name: str, contents: bytes) -> None:
        """Play an uploaded clip, and add it to the list of clips.

        Raises:
            DeployError: it is no clip of this robot.
        """
        file = self._files.take(name, contents, self._group.metadata.robot)
        try:
            self.play(str(file))
        except DeployError as error:
            self._files.discard(file)
            raise DeployError(error.message.replace(str(file), file_name(name))) from error
        label = self._offer(file.stem, str(file))
        self._clip.options, self._clip.value = tuple(self._clip_of), label
        self._play.disabled = False

    def _offer(self, name: str, clip: str) -> str:
        """Add a clip to those that can be chosen. Returns its label: the name, with a number if another clip has that name."""
        label, number = name, 2
        while label in self._clip_of:
            label, number = f"{name} ({number})", number + 1
        self._clip_of[label] = clip
        return label

    def play(self, clip: str) -> None:
        """Order the student to track a clip. Show it as a ghost instead if the checkbox says so or the student tracks no motions.

        Raises:
            DeployError: it is no clip of this robot.
        """
        if self._as_ghost.value or "motion" not in self._group.lead.modes:
            self._group.show_ghost(clip)
        else:
            self._group.order({"motion": {"clip": clip}})

    def close(self) -> None:
        """Delete the uploaded files."""
        self._files.close()

    def stand(self) -> None:
        """Order the robot to stand."""
        self._halt()
        self._order({})

    def push(self, degrees: float) -> None:
        """Push the robot; degrees to the left of its heading."""
        self._group.push(self._force.value, degrees)

    def pause(self, paused: bool) -> None:
        """Let time stand still, or go on."""
        self._pause.value = paused
        self._group.pause(paused)

    def step(self) -> None:
        """Pause, and play one more control step."""
        self._pause.value = True
        self._group.step()

    def reset(self) -> None:
        """Start again at the origin, standing."""
        self._halt()
        self._group.reset()

    def clicked(self, point: tuple[float, float]) -> None:
        """Take a click on the ground: a goal, or one more point of a path."""
        if self._click.value == f"a {POINT_ORDER.name}":
            self._order({POINT_ORDER.name: {"point": point, "frame": "world"}})
        else:
            self._draw([*self._points, point])

    def walk(self) -> None:
        """Order the robot to follow the drawn path."""
        if self._points:
            self._order({WAYPOINT_ORDER.name: {"points": self._points, "speed": self._pace.value, "frame": "world"}})
            self._draw([])

    # Helpers --------------------------------------------------------------------------------------------------------------------

    def _halt(self) -> None:
        """Set the sliders and the stick to zero, and remove the drawn path."""
        self.speed = self.direction = 0.0
        self._speed.value = self._turn.value = 0.0
        self._stick.position = (0.0, 0.0, 0.05)
        self._draw([])

    def _draw(self, points: list[tuple[float, float]]) -> None:
        self._points = points
        frame = self._group.lead.frame
        here = [] if frame is None or not points else [(float(frame.body_pos_w[0, 0]), float(frame.body_pos_w[0, 1]))]
        self._scene.draw([*here, *points])

    def _by_page(self, event: Any, speed: float, direction: float) -> None:
        """Steer by a slider, unless a key moved it."""
        if event.client is not None:
            self.steer(speed, direction)

    def _order(self, order: dict[str, Any]) -> None:
        self._try(lambda: self._group.order(order))

    def _try(self, act: Callable[[], None]) -> None:
        """Run `act`; if it fails, every page shows why."""
        try:
            act()
        except DeployError as error:
            for client in self._server.get_clients().values():
                client.add_notification("This is not possible", error.message, color="red")
