"""The Generative Query Network (Eslami et al. 2018, supplement, algorithms S1-S3 and figure S2).

The step loop is the paper's; identities keep it cheap without changing its result:
- what does not change over the steps (camera, representation, query image) goes through its share of each ConvLSTM's
  convolution once, and what is the same all over the image costs next to nothing (see `gqn.layers`);
- the canvas is linear in the states drawn on it, u = sum_l up_l(h_l), and both its maps are k4 s4 without overlap, so
  down(up(h)) is a 1x1 convolution of h, and the image is one transposed convolution of the states. The canvas is
  therefore kept as the sum of the states that each core drew, `drawn`, at a quarter of the image's size;
- all states are zero before the first step, and what is zero is left out of its convolutions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn import checks
from gqn.errors import BadInput
from gqn.layers import ConvLSTM, Fixed, State
from gqn.objective import Prediction, gaussian_kl, gaussian_log_ratio
from gqn.representations import REPRESENTATIONS, Activation, Region
from gqn.views import Cameras, Views

ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "elu": F.elu}


class GQN(nn.Module):
    """Draws the image seen by a query camera in `num_steps` steps, given a representation of the context views.

    Its three verbs: `represent` context views, `forward` to score a known query (z from the posterior), `sample` to
    draw unknown ones (z from the prior). BadInput if they are asked what they cannot answer (`gqn.checks`).
    """

    trained_on: checks.TrainedOn | None = None

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
        self.image_size, self.size = image_size, image_size // 4  # the latter of states and latents
        self.aggregate, self.sigmoid_output = aggregate, sigmoid_output
        self.num_steps, self.num_latent_maps = num_steps, num_latent_maps
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
        if not shared_cores or num_steps == 1:
            self.cores[0].down.requires_grad_(False)  # it looks at an empty canvas only, so it would get no gradient
        self.observe = nn.Conv2d(num_canvas_maps, 3, 1)

    def compile_steps(self) -> None:
        """Compile the step loop with torch.compile: one graph, whatever the number of context views."""
        self._draw = torch.compile(self._draw, fullgraph=True, dynamic=False)  # type: ignore[method-assign]

    def represent(self, context: Views) -> Tensor:
        """Context views (B, M) to representations (B, ...): the sum (or mean) of their codes."""
        context = checks.context(self, context)
        b, m = context.frames.shape[:2]
        cameras = replace(context.cameras, pose=context.cameras.pose.flatten(0, 1))
        frames = context.frames.flatten(0, 1).to(memory_format=torch.channels_last)
        codes = self.represent_view(frames, cameras).unflatten(0, (b, m))
        return codes.sum(1) if self.aggregate == "sum" else codes.mean(1)

    def forward(
        self,
        context: Views,
        query: Views,
        generator: torch.Generator | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> Prediction:
        """Score query views (B, Q) given context views (B, M); latents come from the posterior.

        A batch that is worked on in n parts, by several devices or one after the other, gives what it gives as a whole
        if each part i is told so, `part` (i, n), and has a generator in the same state.
        """
        r = self.represent(context)
        query = checks.query(self, query, r)
        b, q = query.frames.shape[:2]
        image = query.frames.flatten(0, 1)
        noise = self.noise(query.cameras, generator, part=part)
        told, start = self._seen(r, query.cameras)
        canvases, posteriors, priors, latents = self._draw(told, query.cameras, image - start, noise)
        z, *normals = torch.stack(latents, 1), *_normal(torch.stack(posteriors, 1)), *_normal(torch.stack(priors, 1))
        kl, log_ratio = gaussian_kl(*normals), gaussian_log_ratio(z, *normals)  # (N, L, latent maps, h, w)
        terms = (term.flatten(2).sum(2).unflatten(0, (b, q)) for term in (kl, log_ratio))
        return Prediction(self._image(canvases[-1], start).unflatten(0, (b, q)), *terms)

    def sample(
        self,
        representation: Tensor,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        share_noise: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw the views of cameras (B, Q) from the prior: image means (B, Q, 3, H, W).

        With `share_noise` all views of a scene take the same noise, so that an orbit shows one scene imagined. With
        `noise`, of the shape that the method of that name gives, they take this, and nothing is random.
        """
        cameras = checks.cameras(self, cameras, representation)
        noise = self.noise(cameras, generator, share_noise) if noise is None else noise
        told, start = self._seen(representation, cameras)
        canvases, *_ = self._draw(told, cameras, None, noise)
        return self._image(canvases[-1], start).unflatten(0, cameras.pose.shape[:2])

    def steps(self, representation: Tensor, cameras: Cameras, generator: torch.Generator | None = None) -> Tensor:
        """As `sample`, the image mean that the canvas shows after each step: (B, Q, L, 3, H, W)."""
        cameras = checks.cameras(self, cameras, representation)
        told, start = self._seen(representation, cameras)
        canvases, *_ = self._draw(told, cameras, None, self.noise(cameras, generator))
        images = [self._image(drawn, start).unflatten(0, cameras.pose.shape[:2]) for drawn in canvases]
        return torch.stack(images, 2)

    def noise(
        self,
        cameras: Cameras,
        generator: torch.Generator | None,
        shared: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> Tensor:
        """Standard normal noise for the latents of all steps, (L, B, Q, latent maps, h, w).

        Shared by the queries of a scene if asked for; of part i of n of a batch, `part`, as in `forward`.
        """
        b, q = cameras.pose.shape[:2]
        i, n = part
        shape = (self.num_steps, n * b, 1 if shared else q, self.num_latent_maps, self.size, self.size)
        noise = torch.randn(shape, generator=generator, device=cameras.pose.device)[:, i * b : (i + 1) * b]
        return noise.expand(-1, -1, q, -1, -1, -1)

    def _seen(self, representation: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """What the generator is told of a scene, and the images (N, 3, H, W), or zero, that its canvas starts from."""
        if not isinstance(representation, Tensor):
            raise BadInput(f"a representation is what `represent` gives, and not {type(representation).__name__}")
        told, start = cast(Any, self.represent_view).seen(representation, cameras)
        return told, told.new_zeros(()) if start is None else start

    def _draw(
        self, told: Tensor, cameras: Cameras, image: Tensor | None, noise: Tensor
    ) -> tuple[list[list[Tensor]], list[Tensor], list[Tensor], list[Tensor]]:
        """The step loop for N = B x Q images: z from the posterior if `image` (N, 3, H, W) is given, else the prior.

        `image` is what is to be drawn on what the canvas starts from, and `noise` as `noise` gives it. Returns for each
        step the canvas after it, as the states drawn, the answers of the heads (the prior's twice if there is no
        image), and z.
        """
        noise = noise.flatten(1, 2)
        n = noise.shape[1]
        scene = [cameras.vector().flatten(0, 1)[:, :, None, None], told]
        zero = noise.new_zeros((n, self.cores[0].hidden, self.size, self.size))
        generation: State | None = None
        inference: State | None = None
        drawn: list[Tensor] = []  # the sum of the states that each core drew on the canvas
        canvases: list[list[Tensor]] = []
        posteriors: list[Tensor] = []
        priors: list[Tensor] = []
        latents: list[Tensor] = []
        for step in range(self.num_steps):
            c = step % len(self.cores)
            core = self.cores[c]
            if step == c:  # a core's first step
                ups = [drawer.up.weight for drawer in self.cores[: max(1, c)]]
                constant = core.constants(scene, image, n, self.size, ups)
            # The prior is of the state before this step's z enters it.
            prior = posterior = core.prior(generation[0] if generation else zero)
            if image is not None:
                inference = core.infer(constant, drawn, generation, inference)
                posterior = core.posterior(inference[0])  # of the state after its update
            mean, log_std = _normal(posterior)
            z = mean + log_std.exp() * noise[step]
            generation = core.generate(constant, z, generation)
            state = generation[0].float()
            drawn = [*drawn[:c], drawn[c] + state if c < len(drawn) else state]
            canvases.append(drawn)
            posteriors.append(posterior)
            priors.append(prior)
            latents.append(z)
        return canvases, posteriors, priors, latents

    def _image(self, drawn: list[Tensor], start: Tensor) -> Tensor:
        """The observation of the canvas, start + conv1x1(sum_c up_c(drawn_c)): (N, 3, H, W)."""
        with torch.autocast(drawn[0].device.type, enabled=False):  # the sum of all states is not rounded
            up = torch.cat([core.up.weight for core in self.cores[: len(drawn)]])
            kernel = torch.einsum("xc,hcij->hxij", self.observe.weight[:, :, 0, 0], up)
            mean = F.conv_transpose2d(torch.cat(drawn, 1).float(), kernel, self.observe.bias, stride=4) + start
        return mean.sigmoid() if self.sigmoid_output else mean


def _normal(head: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log std that a head (..., 2 latent maps, h, w) gives."""
    mean, log_std = head.float().chunk(2, -3)
    return mean, log_std


@dataclass(frozen=True)
class Constants:
    """What the steps of a core have in common."""

    generation: Fixed
    inference: Fixed | None = None  # as the next two, only where there is an image to look at
    look: Tensor | None = None  # at the image, (N, 3 or canvas maps, h, w)
    canvas: Tensor | None = None  # the 1 x 1 kernel from the states drawn to the canvas that the inference network sees


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
        self.look = nn.Conv2d(3, canvas if joint else 3, 4, 4, bias=joint is not None)  # at the query image
        self.down = nn.Conv2d(canvas, canvas, 4, 4, bias=False)
        self.up = nn.ConvTranspose2d(hidden, canvas, 4, 4, bias=False)
        self.inference = ConvLSTM([7, code] if joint else [3, 7, code], [hidden, canvas], hidden, kernel)
        self.generation = ConvLSTM([7, code], [latent], hidden, kernel)
        self.prior = nn.Conv2d(hidden, 2 * latent, head, padding=head // 2)  # mean and log std
        self.posterior = nn.Conv2d(hidden, 2 * latent, head, padding=head // 2)

    def constants(self, scene: list[Tensor], image: Tensor | None, n: int, size: int, ups: list[Tensor]) -> Constants:
        """Given the scene (cameras and representation), the image and the weights of the cores that draw before."""
        generation = self.generation.fixed(scene, n, size)
        if image is None:
            return Constants(generation)
        look = self.look(image)
        inference = self.inference.fixed(scene if self.joint else [look, *scene], n, size)
        canvas = torch.einsum("dcij,hcij->dh", self.down.weight, torch.cat(ups))[:, :, None, None]
        return Constants(generation, inference, look, canvas)

    def infer(
        self, constant: Constants, drawn: list[Tensor], generation: State | None, inference: State | None
    ) -> State:
        """The inference network's next state, given the states drawn and the generator's present one (None: zero)."""
        assert constant.inference and constant.look is not None and constant.canvas is not None
        canvas = F.conv2d(torch.cat(drawn, 1), constant.canvas) if drawn else None  # down(sum_c up_c(drawn_c))
        if self.joint:
            canvas = self.joint(constant.look if canvas is None else constant.look + canvas)
        return self.inference(constant.inference, [generation[0] if generation else None, canvas], inference)

    def generate(self, constant: Constants, z: Tensor, generation: State | None) -> State:
        """The generator's next state, given the latent z."""
        return self.generation(constant.generation, [z], generation)
