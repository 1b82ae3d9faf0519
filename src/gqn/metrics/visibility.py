"""Which pixels of a view the context has seen, by depth: separates what a model can know from what it must guess."""

import math

import torch
from torch import Tensor

from gqn.views import Cameras

TOLERANCE = 0.01  # relative tolerance of inverse depths


def seen(
    query: Cameras, depth: Tensor, ids: Tensor, context: Cameras, depths: Tensor, their_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """Whether each of M context views saw the surface point at each query pixel, (M, H, W); background, (H, W).

    `query` is one camera, with `depth` along its axis (inf: background) and object `ids`, both (H, W). `context` is M
    cameras, with `depths` and `their_ids` (M, h, w), which may be finer, for sharp edges of what they saw. A view saw a
    point if the point projects into the view, some of the four pixels around it there have the point's id, and the
    point's depth is in the range of the depths of these pixels, up to 1 %. Inverse depth is linear in the image of a
    plane, so a point of a plane lies between its neighbours at any slant.

    Background is neither seen nor hidden: it has no point that a view could have seen, and only a view that saw the
    whole ray would show that the ray meets nothing.
    """
    background = depth.isinf()
    origin, direction = query.rays(*depth.shape)
    along = depth.where(~background, 1.0) / (direction @ query.matrix()[:3, 2])
    points = origin + direction * along[..., None]

    world_to_camera = context.matrix().inverse()[:, None, None]
    in_camera = (world_to_camera[..., :3, :3] @ points[..., None])[..., 0] + world_to_camera[..., :3, 3]
    x, y, z = in_camera.unbind(-1)  # each (M, H, W)
    height, width = depths.shape[1:]
    focal = width / 2 / math.tan(math.radians(context.fov) / 2)
    front = z > 1e-6
    z = z.where(front, 1.0)
    x, y = x / z * focal + width / 2, y / z * focal + height / 2
    inside = front & (x >= 0) & (x <= width) & (y >= 0) & (y <= height)

    left, top = ((p - 0.5).floor() for p in (x, y))
    nearest, farthest = torch.zeros_like(z), torch.full_like(z, math.inf)  # inverse depths
    for right, down in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = (left + right).clamp(0, width - 1), (top + down).clamp(0, height - 1)
        place = (row * width + column).long().flatten(1)
        inverse = 1 / depths.flatten(1).gather(1, place).view_as(z)
        same = their_ids.flatten(1).gather(1, place).view_as(z) == ids
        nearest = torch.maximum(nearest, inverse.where(same, 0.0))
        farthest = torch.minimum(farthest, inverse.where(same, math.inf))
    between = (1 / z <= nearest * (1 + TOLERANCE)) & (1 / z >= farthest * (1 - TOLERANCE))
    return inside & between & ~background, background
