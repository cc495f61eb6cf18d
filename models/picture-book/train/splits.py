"""Which pictures belong to which split: the one place where seeds are declared.

Every picture is a pure function of its split's art styles and of one seed, so two splits are
disjoint when their seed ranges are. `check_splits.py` asserts that they are, and also compares
picture hashes.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """A range of picture seeds, and the art styles its sprites come from."""

    name: str
    first_seed: int
    pictures: int
    styles: tuple[str, ...]

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.pictures)


TRAINING_STYLES = ("noto", "twemoji")

TRAIN = Split("train", 0, 10**12, TRAINING_STYLES)
VALIDATION = Split("validation", 10**12, 250, TRAINING_STYLES)
UNSEEN_SCENES = Split("unseen-scenes", 2 * 10**12, 500, TRAINING_STYLES)
UNSEEN_STYLE = Split("unseen-style", 3 * 10**12, 250, ("fluent",))
SAMPLES = Split("samples", 4 * 10**12, 10_000, TRAINING_STYLES)

ALL = (TRAIN, VALIDATION, UNSEEN_SCENES, UNSEEN_STYLE, SAMPLES)

# Questions asked about the pictures of a test set.
QUESTIONS = {VALIDATION: 1000, UNSEEN_SCENES: 2000, UNSEEN_STYLE: 1000}

# The stages of training read disjoint parts of TRAIN, so that a stage can be lengthened or
# repeated without moving the pictures of the next one.
SEEDS_PER_STAGE = 10**10
