"""The Generative Query Network (Eslami et al. 2018, supplement, algorithms S1-S3 and figure S2).

The step loop computes what the paper's does; three identities make it cheaper without changing its result:
- inputs that are the same in all steps (camera, representation, query image) go through their share of each ConvLSTM's
  convolution only once, and for inputs that are the same at every pixel this is nearly free (see `gqn.models.layers`);
- the canvas is linear in the states drawn on it, u = sum_l up_l(h_l), and the maps `up` to it and `down` from it have
  kernel 4 and stride 4, without overlap. So down(up(h)) is a 1x1 convolution of h, and the image is one transposed
  convolution of the states. The canvas is therefore stored as `drawn`, the sum of the states that each core drew, at a
  quarter of the image's size;
- all states are zero before the first step, and convolutions skip zero inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gqn.errors import BadInput
from gqn.models import Region, Representation, checks
from gqn.models.layers import ConvLSTM, Fixed, State, repeated
from gqn.models.representations import REPRESENTATIONS, Activation, Setting
from gqn.objective import Gaussian, Prediction, gaussian_kl, gaussian_log_ratio
from gqn.runtime.options import check, short
from gqn.views import Cameras, Views

ACTIVATIONS: dict[str, Activation] = {"relu": F.relu, "elu": F.elu}

if TYPE_CHECKING:
    Network = str
    Nonlinearity = str
else:
    Network, Nonlinearity = Literal[tuple(REPRESENTATIONS)], Literal[tuple(ACTIVATIONS)]


@dataclass(frozen=True)
class Options:
    """Options of a GQN; the defaults are the paper's."""

    representation: Network = "tower"
    """Network that encodes the context views."""
    representation_maps: int = 256
    """Channels of the representation, a multiple of 8."""
    aggregate: Literal["sum", "mean"] = "sum"
    """How the codes of the context views are combined to one representation."""
    lattice_points: int = 10
    """Points per side of a lattice. Along a ray, features are read at as many places, colours at 1.6 times as many."""
    num_steps: Annotated[int, short("-s")] = 12
    """Number of generation steps."""
    num_latent_maps: Annotated[int, short("-l")] = 3
    """Channels of the latent of each step."""
    num_recurrent_maps: Annotated[int, short("-u")] = 128
    """Channels of the recurrent states."""
    num_canvas_maps: int = 128
    """Channels of the canvas."""
    kernel_size: int = 5
    """Kernel size of the recurrent convolutions, odd."""
    head_size: int = 5
    """Kernel size of the prior and posterior heads, odd."""
    shared_cores: bool = False
    """Use the same weights in all generation steps."""
    joint_downsampling: bool = False
    """Downsample image and canvas by one activated convolution, as the founding program; the paper: two linear ones."""
    activation: Nonlinearity = "relu"
    """Nonlinearity of the representation network."""
    sigmoid_output: bool = False
    """Squash the image mean into (0, 1), as the founding program; the paper's is linear."""

    def __post_init__(self):
        check(self)
        for name in ("kernel_size", "head_size"):
            if getattr(self, name) % 2 == 0:
                raise BadInput(f"`{name}` must be odd, not {getattr(self, name)}")
        if self.representation_maps % 8:
            raise BadInput(f"`representation_maps` must be a multiple of 8, not {self.representation_maps}")
        if self.representation.endswith("lattice") and self.sigmoid_output:
            raise BadInput("the lattice starts from a picture, which is not squashed: give `sigmoid_output=False`")

    def build(self, image_size: int, region: Region) -> "GQN":
        """As of `gqn.models.Options`."""
        return GQN(image_size, region, **vars(self))


class GQN(nn.Module):
    """Draws the image seen by a query camera in `num_steps` steps, given a representation of the context views.

    `image_size` is in pixels, `region` contains the scene, and the keyword arguments are those of `Options`. It keeps
    the protocols `gqn.models.Model` and `DrawsInSteps`: `represent` encodes context views, `forward` predicts known
    query views (z from the posterior), `sample` draws unknown ones (z from the prior). Wrong inputs are BadInput
    (`gqn.models.checks`). Its noise is (samples, B, L, Q, latent maps, image_size / 4, image_size / 4).

    Names of the weights in `state_dict`: `represent_view.*` is the representation network. `cores.C.*` is core C (only
    0 if the cores are shared): `inference.gates` and `generation.gates` of the ConvLSTMs, the heads `prior` and
    `posterior`, `look` from the query image, `down` from and `up` to the canvas. `observe` maps the canvas to the
    image. `docs/weights.md` has their shapes.
    """

    trained_on: checks.TrainedOn | None = None

    def __init__(self, image_size: int = 64, region: Region = (1.0, 1.0, 1.0), **options: Any):
        super().__init__()
        self.options = o = Options(**options)
        self.image_size, self.size = image_size, image_size // 4  # `size`: side of states and latents
        self.num_steps = o.num_steps
        activation = ACTIVATIONS[o.activation]
        self.represent_view = REPRESENTATIONS[o.representation](
            Setting(image_size, o.representation_maps, activation, o.aggregate, region, o.lattice_points)
        )
        self.cores: Sequence[Core] = nn.ModuleList(  # type: ignore[assignment]
            Core(
                o.representation_maps,
                o.num_latent_maps,
                o.num_recurrent_maps,
                o.num_canvas_maps,
                o.kernel_size,
                o.head_size,
                activation if o.joint_downsampling else None,
            )
            for _ in range(1 if o.shared_cores else o.num_steps)
        )
        if not o.shared_cores or o.num_steps == 1:
            self.cores[0].down.requires_grad_(False)  # it only ever sees an empty canvas, so it gets no gradient
        self.observe = nn.Conv2d(o.num_canvas_maps, 3, 1)

    def compile_steps(self) -> None:
        """Compile the step loop with torch.compile: one graph for any number of context views."""
        self._draw = torch.compile(self._draw, fullgraph=True, dynamic=False)  # type: ignore[method-assign]

    def represent(self, context: Views) -> Tensor:
        """Encode context views (B, M) to representations (B, ...)."""
        context = checks.context(self, context)
        cameras = replace(context.cameras, pose=context.cameras.pose.flatten(0, 1))
        frames = context.frames.flatten(0, 1).to(memory_format=torch.channels_last)
        codes = self.network.encode(frames, cameras)
        return self.network.join(codes.unflatten(0, context.frames.shape[:2]))

    def noise(
        self,
        scenes: int,
        queries: int,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share: bool = False,
    ) -> Tensor:
        """Noise for the latents of all steps, (S, B, L, Q, latent maps, h, w), as in `gqn.models.Model`."""
        shape = (self.num_steps, scenes, 1 if share else queries, samples, self.options.num_latent_maps)
        device = self.observe.weight.device
        noise = torch.randn(*shape, self.size, self.size, generator=generator, device=device)
        return noise.expand(-1, -1, queries, -1, -1, -1, -1).permute(3, 1, 0, 2, 4, 5, 6)

    def forward(
        self, context: Views, query: Views, pixel_std: float | Tensor, noise: Tensor | None = None
    ) -> Prediction:
        """Predict query views (B, Q) from context views (B, M), with latents from the posterior."""
        r = self.represent(context)
        query = checks.query(self, query, r)
        b, q = query.frames.shape[:2]
        noise = self.noise(b, q) if noise is None else noise
        told, start = self._told(r, query.cameras)
        canvases, posteriors, priors, latents = self._draw(
            told, query.cameras, query.frames.flatten(0, 1) - start, noise
        )
        z, *normals = torch.stack(latents, 1), *_normal(torch.stack(posteriors, 1)), *_normal(torch.stack(priors, 1))
        kl, log_ratio = gaussian_kl(*normals), gaussian_log_ratio(z, *normals)  # (N, L, latent maps, h, w)
        terms = (_by_sample(term.flatten(2).sum(2), b, q) for term in (kl, log_ratio))
        return Prediction(Gaussian(_by_sample(self._image(canvases[-1], start), b, q), pixel_std), *terms)

    def sample(
        self,
        representation: Tensor,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share_noise: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw the views of cameras (B, Q) from the prior: image means (S, B, Q, 3, H, W)."""
        cameras = checks.cameras(self, cameras, representation)
        b, q = cameras.pose.shape[:2]
        noise = self.noise(b, q, generator, samples, share_noise) if noise is None else noise
        told, start = self._told(representation, cameras)
        canvases, *_ = self._draw(told, cameras, None, noise)
        return _by_sample(self._image(canvases[-1], start), b, q)

    def steps(self, representation: Tensor, cameras: Cameras, generator: torch.Generator | None = None) -> Tensor:
        """One sample, as of `sample`, with the image mean after each step: (B, Q, L, 3, H, W)."""
        cameras = checks.cameras(self, cameras, representation)
        b, q = cameras.pose.shape[:2]
        told, start = self._told(representation, cameras)
        canvases, *_ = self._draw(told, cameras, None, self.noise(b, q, generator))
        return torch.stack([self._image(drawn, start).unflatten(0, (b, q)) for drawn in canvases], 2)

    @property
    def network(self) -> Representation:
        """The representation network, `represent_view`, typed as a `Representation`."""
        return cast(Representation, self.represent_view)

    def _told(self, representation: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """As `Representation.answer`, but the images (B Q, 3, H, W) to start from are a scalar 0 if there are none."""
        if not isinstance(representation, Tensor):
            raise BadInput(f"a representation is what represent() gives, and not {type(representation).__name__}")
        told, start = self.network.answer(representation, cameras)
        return told, told.new_zeros(()) if start is None else start

    def _draw(
        self, told: Tensor, cameras: Cameras, image: Tensor | None, noise: Tensor
    ) -> tuple[list[list[Tensor]], list[Tensor], list[Tensor], list[Tensor]]:
        """The step loop for N = B x Q x S images: z from the posterior if an image is given, else from the prior.

        `image` (B Q, 3, H, W) is the query image minus the image that the canvas starts from; `noise` is as of the
        method `noise`. Returns four lists with an entry for each step: the canvas after it (as `drawn`), the outputs of
        the posterior and of the prior head (both are the prior's if there is no image), and z.
        """
        noise = noise.permute(2, 1, 3, 0, 4, 5, 6).flatten(1, 3)  # (L, N, latent maps, h, w)
        n = noise.shape[1]
        scene = [cameras.vector().flatten(0, 1)[:, :, None, None], told]
        zero = noise.new_zeros((n, self.cores[0].hidden, self.size, self.size))
        generation: State | None = None
        inference: State | None = None
        drawn: list[Tensor] = []  # the sum of the states that each core drew on the canvas
        canvases: list[list[Tensor]] = []
        seen: list[Tensor] = []  # by the prior, which sees the state before a step's z updates it
        posteriors: list[Tensor] = []
        latents: list[Tensor] = []
        for step in range(self.num_steps):
            c = step % len(self.cores)
            core = self.cores[c]
            if step == c:  # first use of this core
                ups = [drawer.up.weight for drawer in self.cores[: max(1, c)]]
                uses = len(range(c, self.num_steps, len(self.cores)))
                constants = core.constants(scene, image, n, self.size, ups, uses)
            constant = constants[step // len(self.cores)]
            seen.append(generation[0] if generation else zero)
            if image is None:
                posterior = core.prior(seen[-1])
            else:
                inference = core.infer(constant, drawn, generation, inference)
                posterior = core.posterior(inference[0])  # sees the updated state
            mean, log_std = _normal(posterior)
            z = mean + log_std.exp() * noise[step]
            generation = core.generate(constant, z, generation)
            state = generation[0].float()
            drawn = [*drawn[:c], drawn[c] + state if c < len(drawn) else state]
            canvases.append(drawn)
            posteriors.append(posterior)
            latents.append(z)
        return canvases, posteriors, posteriors if image is None else self._priors(seen), latents

    def _priors(self, states: list[Tensor]) -> list[Tensor]:
        """The outputs of the prior heads for the states of all steps; those of a core are computed together."""
        priors = list(states)
        for c, core in enumerate(self.cores[: len(states)]):
            own = states[c :: len(self.cores)]
            priors[c :: len(self.cores)] = core.prior(torch.cat(own)).chunk(len(own))
        return priors

    def _image(self, drawn: list[Tensor], start: Tensor) -> Tensor:
        """The image mean that the canvas shows, start + conv1x1(sum_c up_c(drawn_c)): (N, 3, H, W)."""
        with torch.autocast(drawn[0].device.type, enabled=False):  # keep the sum of all states in float32
            up = torch.cat([core.up.weight for core in self.cores[: len(drawn)]])
            kernel = torch.einsum("xc,hcij->hxij", self.observe.weight[:, :, 0, 0], up)
            mean = F.conv_transpose2d(torch.cat(drawn, 1).float(), kernel, self.observe.bias, stride=4)
            mean = mean + (_of_each(start, mean.shape[0]) if start.ndim else start)
        return mean.sigmoid() if self.options.sigmoid_output else mean


def _of_each(x: Tensor, n: int) -> Tensor:
    """Repeat each row of (B Q, ...) n / (B Q) times, once for each sample: (n, ...)."""
    return x.repeat_interleave(n // x.shape[0], 0)  # len() is a constant in an exported graph


def _by_sample(x: Tensor, scenes: int, queries: int) -> Tensor:
    """Reshape (B Q S, ...) to (S, B, Q, ...)."""
    return x.unflatten(0, (scenes, queries, x.shape[0] // (scenes * queries))).movedim(2, 0)


def _normal(head: Tensor) -> tuple[Tensor, Tensor]:
    """Split the output of a head (..., 2 latent maps, h, w) into mean and log std."""
    mean, log_std = head.float().chunk(2, -3)
    return mean, log_std


class Constants(NamedTuple):
    """The parts of a core's computation that are the same in all steps."""

    generation: Fixed
    inference: Fixed | None = None  # this and the next two: only if there is a query image
    look: Tensor | None = None  # the downsampled query image, (N, 3 or canvas maps, h, w)
    canvas: Tensor | None = None  # 1 x 1 kernel from `drawn` to the downsampled canvas


class Core(nn.Module):
    """The weights of one generation step: both ConvLSTMs, both heads, the maps to and from the canvas.

    With the activation `joint` (as in the founding program) image and canvas are downsampled by one activated
    convolution before the inference network; without it (as in the paper) each has a linear convolution.
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

    def constants(
        self, scene: list[Tensor], image: Tensor | None, n: int, size: int, ups: list[Tensor], steps: int
    ) -> list[Constants]:
        """The `Constants` of n images, once for each of the steps in which this core is used.

        `scene` is cameras and features, `ups` the `up` weights of the cores that draw before this one.
        """
        generation = self.generation.fixed(scene, n, size)
        if image is None:
            return repeated(Constants(generation), steps)
        look = self.look(image)
        inference = self.inference.fixed(scene if self.joint else [look, *scene], n, size)
        look = look if look.shape[0] == n else _of_each(look, n)  # with one sample, keep the memory layout
        canvas = torch.einsum("dcij,hcij->dh", self.down.weight, torch.cat(ups))[:, :, None, None]
        return repeated(Constants(generation, inference, look, canvas), steps)

    def infer(
        self, constant: Constants, drawn: list[Tensor], generation: State | None, inference: State | None
    ) -> State:
        """The inference network's next state; a state of None is zero."""
        assert constant.inference and constant.look is not None and constant.canvas is not None
        canvas = F.conv2d(torch.cat(drawn, 1), constant.canvas) if drawn else None  # down(sum_c up_c(drawn_c))
        if self.joint:
            canvas = self.joint(constant.look if canvas is None else constant.look + canvas)
        return self.inference(constant.inference, [generation[0] if generation else None, canvas], inference)

    def generate(self, constant: Constants, z: Tensor, generation: State | None) -> State:
        """The generator's next state, given the latent z."""
        return self.generation(constant.generation, [z], generation)
