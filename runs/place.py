"""After how many scenes does an encoder of views know where the object stands? And which activation learns it?

    .venv/bin/python runs/place.py

The pyramid's codes of three views of a ring-camera room with one object, averaged, go through two layers that are to
tell the object's place and colour: supervised, so that nothing else can be in the way. Prints the share of the variance
of both that is explained on other scenes. Half a minute of one core for each activation.
"""

import torch
import torch.nn.functional as F
from torch import nn

from gqn.data.tasks import rng
from gqn.models.representations import Pyramid, Setting
from gqn.scenes import rooms
from gqn.views import Cameras

SCENES, TEST, VIEWS, BATCH, SAMPLES, WARM_UP, EVERY = 12_000, 1_000, 3, 16, 64_000, 3_200, 16_000
RATE = 1.5e-3

torch.set_num_threads(1)
family = rooms.Family(max_objects=1)
frames = torch.empty(SCENES, VIEWS, 3, 32, 32, dtype=torch.uint8)
pose, target = torch.empty(SCENES, VIEWS, 5), torch.empty(SCENES, 5)
for i in range(SCENES):
    generator = rng(7, i)
    scene = family.sample(generator)
    views = family.render(scene, family.cameras(generator, scene, VIEWS), 32)
    frames[i], pose[i] = views.frames, views.cameras.pose
    target[i] = torch.tensor([*scene.objects[0].place, *(2 * c - 1 for c in scene.objects[0].colour)])

for name, activation in {"relu": F.relu, "elu": F.elu}.items():
    torch.manual_seed(0)
    encoder = Pyramid(Setting(32, 128, activation, "mean", (1.0, 1.0, 0.6)))
    head = nn.Sequential(nn.Linear(128, 128), nn.ELU(), nn.Linear(128, 5))
    adam = torch.optim.Adam([*encoder.parameters(), *head.parameters()])

    def told(which, encoder=encoder, head=head):
        with torch.autocast("cpu", torch.bfloat16):
            codes = encoder.encode(frames[which].flatten(0, 1).float() / 255, Cameras(pose[which].flatten(0, 1)))
        return head(codes.float().unflatten(0, (-1, VIEWS)).mean(1).flatten(1))

    for seen in range(BATCH, SAMPLES + 1, BATCH):
        for group in adam.param_groups:
            group["lr"] = RATE * min(1, seen / WARM_UP)
        which = torch.randint(TEST, SCENES, (BATCH,))
        adam.zero_grad()
        (told(which) - target[which]).square().mean().backward()
        adam.step()
        if seen % EVERY == 0:
            with torch.no_grad():
                error = (told(torch.arange(TEST)) - target[:TEST]).square().mean(0)
            place, colour = (
                1 - error[part].sum() / target[:TEST, part].var(0).sum() for part in (slice(2), slice(2, 5))
            )
            print(f"{name}, {seen:6,} scenes: place {place:.2f}, colour {colour:.2f}", flush=True)
