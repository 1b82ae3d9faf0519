"""The paper's model as a textbook would write it: an oracle that shares only the names of its weights with `gqn`.

Every convolution sees its whole, concatenated input at every step, and the canvas exists in full, at the image's size.
"""

import math

import torch
import torch.nn.functional as F


def camera_vector(pose):
    x, y, z, yaw, pitch = pose.unbind(-1)
    return torch.stack([x, y, z, torch.sin(yaw), torch.cos(yaw), torch.sin(pitch), torch.cos(pitch)], -1)


def tiled(v, size):
    return v.reshape(*v.shape, 1, 1).repeat(1, 1, size, size)


def conv(w, name, x, **options):
    return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), **options)


def pyramid(w, x, v):
    x = torch.cat([x, tiled(v, x.shape[-1])], 1)
    for layer in range(3):
        x = F.relu(conv(w, f"layers.{layer}", x, stride=2))
    return F.relu(conv(w, "layers.3", x, stride=x.shape[-1]))


def tower(w, x, v):
    x = F.relu(conv(w, "enter", x, stride=2))
    skip = F.relu(conv(w, "skip1", x, stride=2))
    x = F.relu(conv(w, "main1a", x, padding=1))
    x = F.relu(conv(w, "main1b", x, stride=2)) + skip
    x = torch.cat([x, tiled(v, x.shape[-1])], 1)
    skip = F.relu(conv(w, "skip2", x, padding=1))
    x = F.relu(conv(w, "main2a", x, padding=1))
    x = F.relu(conv(w, "main2b", x, padding=1)) + skip
    return F.relu(conv(w, "leave", x))


def pool(w, x, v):
    return tower(w, x, v).mean((2, 3), keepdim=True)


def founding_tower(w, x, v):
    x = F.elu(conv(w, "enter", x, stride=2))
    x = x + F.elu(conv(w, "block1", x, padding=1))
    x = F.elu(conv(w, "down", x, stride=2))
    x = F.elu(conv(w, "camera", torch.cat([x, tiled(v, x.shape[-1])], 1), padding=1))
    x = x + F.elu(conv(w, "block2", x, padding=1))
    return F.elu(conv(w, "leave", x))


REPRESENTATIONS = {"pyramid": pyramid, "tower": tower, "pool": pool, "identity_tower": founding_tower}


def conv_lstm(w, name, inputs, h, c):
    weight = w[f"{name}.gates.weight"]
    gates = F.conv2d(torch.cat([*inputs, h], 1), weight, w[f"{name}.gates.bias"], padding=weight.shape[-1] // 2)
    i, f, o, g = gates.chunk(4, 1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def normal(w, name, h):
    weight = w[f"{name}.weight"]
    mean, log_std = conv(w, name, h, padding=weight.shape[-1] // 2).chunk(2, 1)
    return torch.distributions.Normal(mean, torch.exp(log_std))


def part(weights, prefix):
    return {name[len(prefix) + 1 :]: value for name, value in weights.items() if name.startswith(prefix + ".")}


def draw(weights, representation, steps, founding, context, context_pose, query_pose, image, generator):
    """One query per scene: (image mean (B, 3, S, S), [KL of each step (B,)]); `image` None samples from the prior."""
    encode = REPRESENTATIONS[representation]
    codes = [
        encode(part(weights, "represent_view"), context[:, m], camera_vector(context_pose[:, m]))
        for m in range(context.shape[1])
    ]
    r = sum(codes)
    size = context.shape[-1] // 4
    if r.shape[-1] == 1:
        r = r.repeat(1, 1, size, size)
    v = tiled(camera_vector(query_pose), size)
    cores = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("cores."))
    first = part(weights, "cores.0")
    hidden, canvas = first["up.weight"].shape[:2]
    h_g = c_g = h_e = c_e = r.new_zeros(len(r), hidden, size, size)
    u = r.new_zeros(len(r), canvas, 4 * size, 4 * size)
    kls = []
    for step in range(steps):
        w = part(weights, f"cores.{step % cores}")
        prior = normal(w, "prior", h_g)
        q = prior
        if image is not None:
            if founding:
                both = torch.cat([image, u], 1)
                kernel = torch.cat([w["look.weight"], w["down.weight"]], 1)
                look = F.elu(F.conv2d(both, kernel, w["look.bias"], stride=4))
                inputs = [v, r, h_g, look]
            else:
                inputs = [conv(w, "look", image, stride=4), v, r, h_g, conv(w, "down", u, stride=4)]
            h_e, c_e = conv_lstm(w, "inference", inputs, h_e, c_e)
            q = normal(w, "posterior", h_e)
            kls.append(torch.distributions.kl_divergence(q, prior).sum((1, 2, 3)))
        noise = torch.randn(q.mean.shape, generator=generator, device=q.mean.device)
        h_g, c_g = conv_lstm(w, "generation", [v, r, q.mean + q.stddev * noise], h_g, c_g)
        u = u + F.conv_transpose2d(h_g, w["up.weight"], stride=4)
    mean = conv(weights, "observe", u)
    return (torch.sigmoid(mean) if founding else mean), kls


def log_likelihood(mean, image, sigma):
    return torch.distributions.Normal(mean, sigma).log_prob(image).sum((1, 2, 3))


def perfect_loss(dims, sigma):
    return dims * 0.5 * math.log(2 * math.pi * sigma**2)
