"""The Generative Query Network (Eslami et al. 2018, supplement, algorithms S1-S3 and figure S2).

The step loop is the paper's; two identities keep it cheap without changing its result:
- what does not change over the steps (camera, representation, query image) goes through its share of each ConvLSTM's
  convolution once (see `ConvLSTM`);
- the canvas is linear in the states drawn on it, u = sum_l up_l(h_l), and both its maps are k4 s4 without overlap, so
  down(up(h)) is a 1x1 convolution of h, and the image is one transposed convolution of the states. The canvas is
  therefore kept as the states drawn by each core, `drawn`, at a quarter of the image's size.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.layers import ConvLSTM, State, tile
from gqn.objective import Prediction, gaussian_kl, gaussian_log_ratio
from gqn.representations import REPRESENTATIONS, Activation, Region
from gqn.views import Cameras, Views

ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "elu": F.elu}


class GQN(nn.Module):
    """Draws the image seen by a query camera in `num_steps` steps, given a representation of the context views.

    Its three verbs: `represent` context views, `forward` to score a known query (z from the posterior), `sample` to
    draw unknown ones (z from the prior).
    """

    def __init__(
        self,
        image_size: int = 64,
        representation: str = "tower",
        representation_maps: int = 256,
        aggregate: str = "sum",
        num_steps: int = 12,
        num_latent_maps: int = 3,
        num_recurrent_maps: int = 128,
        num_canvas_maps: int = 128,
        kernel_size: int = 5,
        head_size: int = 5,
        shared_cores: bool = False,
        joint_downsampling: bool = False,
        activation: str = "relu",
        sigmoid_output: bool = False,
        region: Region = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.size = image_size // 4  # of states and latents
        self.aggregate, self.num_steps, self.sigmoid_output = aggregate, num_steps, sigmoid_output
        self.represent_view = REPRESENTATIONS[representation](
            image_size, representation_maps, ACTIVATIONS[activation], region
        )
        self.cores: Sequence[Core] = nn.ModuleList(  # type: ignore[assignment]
            Core(
                representation_maps,
                num_latent_maps,
                num_recurrent_maps,
                num_canvas_maps,
                kernel_size,
                head_size,
                ACTIVATIONS[activation] if joint_downsampling else None,
            )
            for _ in range(1 if shared_cores else num_steps)
        )
        self.observe = nn.Conv2d(num_canvas_maps, 3, 1)

    def represent(self, context: Views) -> Tensor:
        """Context views (B, M), float frames, to representations (B, ...): the sum (or mean) of their codes."""
        b, m = context.frames.shape[:2]
        cameras = replace(context.cameras, pose=context.cameras.pose.flatten(0, 1))
        codes = self.represent_view(context.frames.flatten(0, 1), cameras).unflatten(0, (b, m))
        return codes.sum(1) if self.aggregate == "sum" else codes.mean(1)

    def forward(self, context: Views, query: Views, generator: torch.Generator | None = None) -> Prediction:
        """Score query views (B, Q), float frames, given context views (B, M); latents come from the posterior."""
        b, q = query.frames.shape[:2]
        r = self.represent(context)
        drawn, kl, log_ratio = self._draw(r, query.cameras, query.frames.flatten(0, 1), generator)
        terms = (torch.stack(term, 1).unflatten(0, (b, q)) for term in (kl, log_ratio))
        return Prediction(self._image(drawn[-1]).unflatten(0, (b, q)), *terms)

    def sample(
        self,
        representation: Tensor,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        share_noise: bool = False,
    ) -> Tensor:
        """Draw the views of cameras (B, Q) from the prior: image means (B, Q, 3, H, W).

        With `share_noise` all views of a scene take the same noise, so that an orbit shows one scene imagined.
        """
        drawn, _, _ = self._draw(representation, cameras, None, generator, share_noise)
        return self._image(drawn[-1]).unflatten(0, cameras.pose.shape[:2])

    def steps(self, representation: Tensor, cameras: Cameras, generator: torch.Generator | None = None) -> Tensor:
        """As `sample`, the image mean that the canvas shows after each step: (B, Q, L, 3, H, W)."""
        drawn, _, _ = self._draw(representation, cameras, None, generator)
        images = [self._image(states).unflatten(0, cameras.pose.shape[:2]) for states in drawn]
        return torch.stack(images, 2)

    def _draw(
        self,
        r: Tensor,
        cameras: Cameras,
        image: Tensor | None,
        generator: torch.Generator | None,
        share_noise: bool = False,
    ) -> tuple[list[dict[int, Tensor]], list[Tensor], list[Tensor]]:
        """The step loop for N = B x Q images: z from the posterior if `image` (N, 3, H, W) is given, else the prior.

        Returns the canvas after each step, as states drawn; KL (N,) and log q(z) - log p(z) (N,) of each step.
        """
        b, q = cameras.pose.shape[:2]
        r = cast(Any, self.represent_view).seen(r, cameras)
        v = tile(cameras.vector().flatten(0, 1), self.size, self.size)
        scene = torch.cat([v.to(r), r], 1)
        constants = [core.constants(scene, image) for core in self.cores]
        zero = scene.new_zeros((len(scene), self.cores[0].hidden, self.size, self.size))
        generation, inference = (zero, zero), (zero, zero)
        drawn: dict[int, Tensor] = {}  # the sum of the states that each core drew on the canvas
        canvases, kl, log_ratio = [], [], []
        for step in range(self.num_steps):
            c = step % len(self.cores)
            core, constant = self.cores[c], constants[c]
            prior = core.prior(generation[0]).chunk(2, 1)  # before this step's z enters the state
            latent = prior
            if image is not None:
                canvas = self._downsampled(core, drawn or {c: zero})
                inference = core.infer(constant, canvas, generation, inference)
                latent = core.posterior(inference[0]).chunk(2, 1)  # of the state after its update
            mean, log_std = (t.float() for t in latent)
            noise = torch.randn((b, 1 if share_noise else q, *mean.shape[1:]), generator=generator, device=mean.device)
            z = mean + log_std.exp() * noise.expand(-1, q, -1, -1, -1).flatten(0, 1)
            if image is not None:
                kl.append(gaussian_kl(*latent, *prior).flatten(1).sum(1))
                log_ratio.append(gaussian_log_ratio(z, *latent, *prior).flatten(1).sum(1))
            generation = core.generate(constant, z, generation)
            drawn[c] = drawn[c] + generation[0] if c in drawn else generation[0]
            canvases.append(dict(drawn))
        return canvases, kl, log_ratio

    def _downsampled(self, core: "Core", drawn: dict[int, Tensor]) -> Tensor:
        """The canvas as the inference network sees it: down(sum_c up_c(drawn_c)), (N, canvas maps, h, w)."""
        down = core.down.weight
        products = {c: torch.einsum("dcij,hcij->dh", down, self.cores[c].up.weight) for c in drawn}
        return torch.stack([F.conv2d(h, products[c][:, :, None, None]) for c, h in drawn.items()]).sum(0)

    def _image(self, drawn: dict[int, Tensor]) -> Tensor:
        """The observation of the canvas, conv1x1(sum_c up_c(drawn_c)): (N, 3, H, W)."""
        observe = self.observe.weight[:, :, 0, 0]
        kernels = {c: torch.einsum("xc,hcij->hxij", observe, self.cores[c].up.weight) for c in drawn}
        parts = [F.conv_transpose2d(h, kernels[c], stride=4) for c, h in drawn.items()]
        mean = torch.stack(parts).sum(0) + cast(Tensor, self.observe.bias)[:, None, None]
        return mean.sigmoid() if self.sigmoid_output else mean


class Core(nn.Module):
    """The weights of one generation step: both ConvLSTMs, both heads, the maps to and from the canvas.

    With `joint` (the founding program's) the inference network looks at image and canvas through one activated
    convolution; without (the paper's) through a linear one each.
    """

    def __init__(
        self,
        code: int,
        latent: int,
        hidden: int,
        canvas: int,
        kernel: int,
        head: int,
        joint: Activation | None,
    ):
        super().__init__()
        self.hidden, self.joint = hidden, joint
        scene = 7 + code
        self.look = nn.Conv2d(3, canvas if joint else 3, 4, 4, bias=joint is not None)  # at the query image
        self.down = nn.Conv2d(canvas, canvas, 4, 4, bias=False)
        self.up = nn.ConvTranspose2d(hidden, canvas, 4, 4, bias=False)
        self.inference = ConvLSTM(scene if joint else scene + 3, hidden + canvas, hidden, kernel)
        self.generation = ConvLSTM(scene, latent, hidden, kernel)
        self.prior = nn.Conv2d(hidden, 2 * latent, head, padding=head // 2)  # mean and log std
        self.posterior = nn.Conv2d(hidden, 2 * latent, head, padding=head // 2)

    def constants(self, scene: Tensor, image: Tensor | None) -> dict[str, Tensor]:
        """What stays the same over the steps: shares of the ConvLSTMs' gates, and of a joint look."""
        shares = {"generation": self.generation.constant(scene)}
        if image is not None:
            look = self.look(image)
            shares["look"] = look
            shares["inference"] = self.inference.constant(scene if self.joint else torch.cat([look, scene], 1))
        return shares

    def infer(self, constant: dict[str, Tensor], canvas: Tensor, generation: State, inference: State) -> State:
        """The inference network's next state, given the canvas (downsampled) and the generator's present state."""
        seen = self.joint(constant["look"] + canvas) if self.joint else canvas
        return self.inference(constant["inference"], [generation[0], seen], inference)

    def generate(self, constant: dict[str, Tensor], z: Tensor, generation: State) -> State:
        """The generator's next state, given the latent z."""
        return self.generation(constant["generation"], [z.to(generation[0])], generation)
