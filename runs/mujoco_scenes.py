"""Render scenes with MuJoCo, to try `gqn data import` on what this project did not render (docs/own.md).

    pip install mujoco pillow
    MUJOCO_GL=egl python runs/mujoco_scenes.py --scenes 1500 --out mujoco

Each scene has three to five coloured solids on a floor. Its views are taken from around it with cameras of different
fields of view that are held askew, and stored as PNG beside a transforms.json. `--check DATA` renders what the level
cameras of imported scenes see, and compares.
"""

import argparse
import json
import math
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image

VIEWS, WIDTH, HEIGHT = 12, 200, 150
WORLD = """<mujoco><visual><headlight ambient=".4 .4 .4" diffuse=".4 .4 .4" specular="0 0 0"/><quality offsamples="8"/>
<map znear="0.02" zfar="30"/><global offwidth="512" offheight="512"/></visual>
<asset><texture name="sky" type="skybox" builtin="flat" rgb1=".55 .7 .9" rgb2=".55 .7 .9" width="64" height="64"/>
<texture name="floor" type="2d" builtin="checker" rgb1=".6 .6 .55" rgb2=".45 .45 .4" width="256" height="256"/>
<material name="floor" texture="floor" texrepeat="6 6"/></asset>
<worldbody><light pos="2 1 4" dir="-2 -1 -4" diffuse=".5 .5 .5" specular="0 0 0"/>
<geom type="plane" size="4 4 .1" material="floor"/>{solids}<camera name="eye" mode="fixed"/></worldbody></mujoco>"""


def scene(rng):
    """A random scene, as MuJoCo's XML."""
    solids, places = [], []
    while len(solids) < 3 + rng.integers(3) and len(places) < 100:
        place = rng.uniform(-0.8, 0.8, 2)
        places.append(place)
        if any(np.linalg.norm(place - other) < 0.55 for other in [s[0] for s in solids]):
            continue
        kind, size = rng.choice(["box", "sphere", "cylinder"]), rng.uniform(0.16, 0.26)
        hue = rng.random() * 6
        rgb = np.clip([abs(hue - 3) - 1, 2 - abs(hue - 2), 2 - abs(hue - 4)], 0.1, 0.9)
        sizes = {"box": f"{size} {size} {size}", "sphere": f"{size}", "cylinder": f"{size} {size}"}[kind]
        x, y = place
        solids.append(
            (
                place,
                f'<geom type="{kind}" size="{sizes}" pos="{x} {y} {size}" euler="0 0 {rng.uniform(0, 90)}" '
                f'rgba="{rgb[0]} {rgb[1]} {rgb[2]} 1"/>',
            )
        )
    return WORLD.format(solids="".join(text for _, text in solids))


def camera(rng):
    """A camera to world matrix (4, 4), axes x right, y up, z backward, and a vertical field of view in degrees."""
    yaw, distance = rng.uniform(0, 2 * math.pi), rng.uniform(2.2, 3.2)
    at = np.array([distance * math.cos(yaw), distance * math.sin(yaw), rng.uniform(0.6, 1.8)])
    return held(at, np.append(rng.uniform(-0.2, 0.2, 2), 0.2), rng.uniform(-0.3, 0.3)), rng.uniform(40, 55)


def held(at, target, roll):
    """The matrix of a camera at a place that looks at another, turned by `roll` radians."""
    back = (at - target) / np.linalg.norm(at - target)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    right, up = right * math.cos(roll) + up * math.sin(roll), up * math.cos(roll) - right * math.sin(roll)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, up, back, at], 1)
    return matrix


class Renderer:
    """What cameras see of one scene."""

    def __init__(self, xml):
        self.model = mujoco.MjModel.from_xml_string(xml)
        self.data = mujoco.MjData(self.model)
        self.renderers = {}

    def __call__(self, matrix, fovy, width, height):
        quat = np.empty(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(matrix[:3, :3]).ravel())
        self.model.cam_pos[0], self.model.cam_quat[0], self.model.cam_fovy[0] = matrix[:3, 3], quat, fovy
        mujoco.mj_forward(self.model, self.data)
        if (width, height) not in self.renderers:
            self.renderers[width, height] = mujoco.Renderer(self.model, height, width)
        renderer = self.renderers[width, height]
        renderer.update_scene(self.data, camera="eye")
        return renderer.render().copy()

    def close(self):
        for renderer in self.renderers.values():
            renderer.close()


def make(out, number):
    """Write a scene to its folder."""
    rng = np.random.default_rng(number)
    see, folder, frames = Renderer(scene(rng)), out / f"{number:05}", []
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(VIEWS):
        matrix, fovy = camera(rng)
        Image.fromarray(see(matrix, fovy, WIDTH, HEIGHT)).save(folder / f"{k:02}.png")
        focal = HEIGHT / 2 / math.tan(math.radians(fovy) / 2)
        frames.append({"file_path": f"{k:02}.png", "fl_x": focal, "fl_y": focal, "transform_matrix": matrix.tolist()})
    see.close()
    (folder / "transforms.json").write_text(json.dumps({"w": WIDTH, "h": HEIGHT, "frames": frames}))


def check(data, count=20):
    """Mean PSNR of imported frames against MuJoCo's own renderings from the imported poses."""
    from gqn.data.sources import source
    from gqn.data.specification import spec

    folder = Path(data)
    row, said = spec(folder.name, folder.parent), json.loads((folder / "scenes.json").read_text())
    scenes, found = source(folder.name, "train", data=folder.parent), []
    for i in range(count):
        listed = said["train"][i]
        see = Renderer(scene(np.random.default_rng(int(listed["name"]))))
        views = scenes.views(i, np.arange(scenes.num_views))
        turn, centre = np.array(listed["turn"]), np.array(listed["centre"])
        matrices = views.cameras.matrix().numpy()
        for frame, matrix in zip(views.frames.numpy(), matrices, strict=True):
            there = np.eye(4)
            there[:3, :3] = turn.T @ matrix[:3, :3] @ np.diag([1, -1, -1])
            there[:3, 3] = turn.T @ (matrix[:3, 3] * listed["unit"] + centre)
            large = see(there, row.filmed.fov, 512, 512)
            true = np.asarray(Image.fromarray(large).reduce(512 // frame.shape[-1]), float)
            found.append(-10 * math.log10(np.mean((frame.transpose(1, 2, 0) - true) ** 2) / 255**2))
    print(f"{folder.name}: {len(found)} frames, {np.mean(found):.1f} dB on average, {min(found):.1f} at least")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("mujoco"))
    parser.add_argument("--check", metavar="DATA", help="compare imported scenes, DIR/NAME")
    given = parser.parse_args()
    if given.check:
        check(given.check)
    else:
        for number in range(given.scenes):
            make(given.out, number)
