"""Models: networks that draw what a camera sees of a scene, from other views of it.

A model is a file of this folder that defines `Options`; `gqn train --model NAME` finds it by its file's name. For a
module outside of the package, NAME is the module's name, `mine.model`. To add a model, write the file:

    @dataclass(frozen=True)
    class Options:                         the model's options, which become flags
        width: Annotated[int, short("-w")] = 64
        '''Help of the flag --width.'''
        def build(self, image_size, region) -> Model

    class Mine(nn.Module)                  the model; it keeps the protocol `Model`

Its methods `represent`, `forward` and `sample` call `context`, `query` and `cameras` of `gqn.models.checks`, so
that all models reject wrong inputs with the same messages. `tests/models/test_contract.py` tests what is expected of
every model. Models share the code of `layers`, `representations` (networks that encode the context; the protocol
`Representation`) and `checks`; `baselines` are models that learn nothing. Models do not depend on data, scenes or
runs.
"""

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gqn.objective import Prediction
from gqn.runtime import lookup
from gqn.views import Cameras, Views

Region = tuple[float, float, float]
"""Half the side lengths, along x, y, z, of a box around the origin that contains the scene."""


class Model(Protocol):
    """The interface of every model, used by trainer, metrics, figures and viewer. Frames are float in [0, 1].

    Latents are computed from standard normal noise, which `noise` draws and the other methods accept: for S samples of
    B scenes it is (S, B, ...), and the model chooses the remaining dimensions.
    """

    def represent(self, context: Views) -> Any:
        """The representation of context views (B, M); only the model knows its format."""

    def noise(
        self,
        scenes: int,
        queries: int,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share: bool = False,
    ) -> Tensor:
        """Noise (S, B, ...) for Q queries of each of B scenes, on the model's device.

        With `share` all queries of a scene get the same noise, so that an orbit shows one consistent imagined scene.
        """
        ...

    def __call__(
        self, context: Views, query: Views, pixel_std: float | Tensor, noise: Tensor | None = None
    ) -> Prediction:
        """Predict known query views (B, Q), with latents from the posterior. Without `noise`, one sample.

        `pixel_std` is the std of the Gaussian likelihood, unless the model predicts its own.
        """
        ...

    def sample(
        self,
        representation: Any,
        cameras: Cameras,
        generator: torch.Generator | None = None,
        samples: int = 1,
        share_noise: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw the views of cameras (B, Q) from the prior: image means (S, B, Q, 3, H, W).

        If `noise` is given, `generator`, `samples` and `share_noise` are ignored and nothing is random.
        """
        ...


@runtime_checkable
class DrawsInSteps(Protocol):
    """A model that draws an image in several steps, and can show it after each."""

    num_steps: int

    def steps(self, representation: Any, cameras: Cameras, generator: torch.Generator | None = None) -> Tensor:
        """One sample, as of `sample`, with the image mean after each of L steps: (B, Q, L, 3, H, W)."""
        ...

    def compile_steps(self) -> None:
        """Compile the loop over the steps with torch.compile."""


class Options(Protocol):
    """The options of a model: a frozen dataclass that checks its values, at least by `gqn.runtime.options.check`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def build(self, image_size: int, region: Region) -> nn.Module:
        """The model with these options, for images of `image_size` x `image_size` pixels, with random weights."""
        ...


class Representation(Protocol):
    """A network that encodes the views of a context; built as `Network(setting)`, `representations.Setting`.

    It has three stages: `encode` each view to a code, `join` the codes to a representation, once for a context, and
    `answer` query cameras with the features that the generator gets.
    """

    def encode(self, frames: Tensor, cameras: Cameras) -> Tensor:
        """Encode frames (N, 3, S, S) and their cameras (N,) to codes (N, ...)."""
        ...

    def join(self, codes: Tensor) -> Tensor:
        """Join the codes (B, M, ...) of the context views to the scene representations, (B, ...)."""
        ...

    def answer(self, representation: Tensor, cameras: Cameras) -> tuple[Tensor, Tensor | None]:
        """The generator's input features for query cameras (B, Q), and the images that its canvas starts from.

        Features are (B Q, width, S/4, S/4); the first dimension is B if they are the same for all queries of a scene,
        and the last two are 1 x 1 if they are the same everywhere. Images are (B Q, 3, S, S), or None.
        """
        ...


def options(name: str) -> type[Options]:
    """The `Options` class of the model `name`. BadInput if there is no such model."""
    return lookup.load("models", name).Options


def name_of(options: Options) -> str:
    """The name of the model that options belong to."""
    return type(options).__module__.removeprefix(f"{__name__}.")


def build(options: Options, image_size: int, region: Region, seed: int = 0) -> nn.Module:
    """The model with these options and random weights from the seed; torch's random state is left unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return options.build(image_size, region)
