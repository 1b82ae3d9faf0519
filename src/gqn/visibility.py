"""Which pixels of a view other views have seen, from depth: what a model can know, apart from what it must guess."""

import math

import torch
from torch import Tensor

from gqn.views import Cameras

TOLERANCE = 0.01  # of a depth


def seen(
    query: Cameras, depth: Tensor, ids: Tensor, context: Cameras, depths: Tensor, their_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """Whether each of M context views saw the surface point at each query pixel, (M, H, W); background, (H, W).

    `query` is one camera, with `depth` along its axis (inf: background) and `ids` of what is there, (H, W); `context`
    are M, with theirs (M, h, w), finer if what they saw is to have sharp edges. A point is seen if it projects into the
    view, and among the four pixels about its place are some of the same id, whose range of depth it falls into, give
    or take 1 %. Inverse depth is linear in an image of a plane, so that a plane's points do fall between their
    neighbours, however slanted.

    Background is neither seen nor hidden: it has no points that a view could have seen, and that a ray meets nothing
    is known only from views that saw all along it.
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
