"""Scenes that were photographed or rendered elsewhere: nothing is known of them but their views."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gqn.views import Cameras, Convention


@dataclass(frozen=True)
class Captured:
    """How cameras move in captured scenes: around the middle, if the scenes have a `circle` for it; else in a walk."""

    fov: float  # degrees
    convention: Convention
    unit: float  # a unit of camera positions, in units of the scenes
    circle: tuple[float, float] | None = None  # radius and z, in units of camera positions

    @property
    def motion(self) -> str:
        """How a dragged camera moves: "around" the middle, or in a "walk"."""
        return "walk" if self.circle is None else "around"

    def allowed(self, scene: Any | None, cameras: Cameras) -> Cameras:
        """The cameras (K,) themselves; around the middle, those that look at it with the same yaw and distance."""
        if self.circle is None:
            return cameras
        x, y, z, yaw, _ = cameras.pose.double().numpy().T
        return self._around(yaw, np.hypot(x, y), z)

    def orbit(self, scene: Any | None, k: int) -> Cameras:
        """Cameras (K,) on the circle, looking at the middle; without one, turning on the spot, in the middle."""
        radius, height = self.circle or (0.0, 0.0)
        yaw = np.linspace(0, 2 * np.pi, k, endpoint=False)
        return self._around(yaw, np.full(k, radius), np.full(k, height))

    def _around(self, yaw: NDArray[np.floating], distance: NDArray[np.floating], z: NDArray[np.floating]) -> Cameras:
        """Cameras (K,) that look along `yaw`, at the middle, from a horizontal distance."""
        (x, y), pitch = self.convention.along(yaw), -np.arctan2(z + self.convention.eye, distance)
        pose = np.stack([-distance * x, -distance * y, z, yaw, pitch], -1)
        return Cameras(torch.from_numpy(pose.astype(np.float32)), self.fov, self.convention)
