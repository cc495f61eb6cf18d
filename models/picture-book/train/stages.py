"""The stages of training, in order: what is shown, how long, and how fast to learn."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own checkpoint; rates go linearly from first to last."""

    name: str
    grid: int  # patches a side: 24 is the whole page
    batch: int  # pictures a rank and step
    steps: int
    first_rate: float
    last_rate: float
    # The weight of the patch losses beside the answers' loss.
    dense_weight: float = 1.0
    # How fast the vision tower learns, as a share of the rate.
    vision_share: float = 1.0

    @property
    def windows(self) -> bool:
        """Whether only the vision tower is trained, on small windows of the page."""
        return self.grid == 8


STAGES = (
    # Names for patches: small windows are cheap.
    Stage("windows", grid=8, batch=32, steps=2600, first_rate=3e-3, last_rate=3e-4),
    # First answers, on pictures of 168 px (144 tokens).
    Stage(
        "small", grid=12, batch=8, steps=3600, first_rate=2e-3, last_rate=1.3e-3,
        dense_weight=1.5, vision_share=0.25,
    ),
    # The real thing: 336 px, 576 tokens.
    Stage(
        "full", grid=24, batch=4, steps=1750, first_rate=1.17e-3, last_rate=5.2e-4,
        dense_weight=1.5, vision_share=0.5,
    ),
    # The rate falls to nothing: this is where accuracy is cashed in.
    Stage(
        "anneal", grid=24, batch=4, steps=1580, first_rate=6.3e-4, last_rate=0.0,
        dense_weight=1.5, vision_share=0.5,
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}
