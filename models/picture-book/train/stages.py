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
    Stage("windows", grid=8, batch=24, steps=1050, first_rate=3e-3, last_rate=5e-4),
    # First answers, on pictures of 168 px (144 tokens).
    Stage("small", grid=12, batch=6, steps=1500, first_rate=2e-3, last_rate=1.5e-3, vision_share=0.4),
    # The real thing: 336 px, 576 tokens. A constant rate, so that it can go on for long.
    Stage("full", grid=24, batch=4, steps=4000, first_rate=1.5e-3, last_rate=1e-3, vision_share=0.5),
    # The rate falls to nothing: this is where accuracy is cashed in.
    Stage("anneal", grid=24, batch=4, steps=800, first_rate=1e-3, last_rate=0.0, vision_share=0.7),
)
BY_NAME = {stage.name: stage for stage in STAGES}
