"""Questions about a scene that a careful person answers without doubt, and their answers."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from nouns import EMOJI_NOUNS, NUMBERS, PLACES, SIGN, plural, with_article
from scene import LIST_GAP, PAGE, Scene, Thing

# No "where" closer than this to a border between two of the nine places (at 336 px).
PLACE_MARGIN = 12.0
# "left of" and so on: the answer lies within this cone...
_CONE = 0.5
# ... and everything else on that side well outside of it.
_CLEAR_CONE = 2.0
_LEAST_DISTANCE = 26.0

DIRECTIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str


def listing(things: list[Thing]) -> str:
    """`a dog, an apple and a sign`, from left to right."""
    names = [with_article(thing.noun) for thing in sorted(things, key=lambda thing: thing.x)]
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


def is_listable(scene: Scene) -> bool:
    """Whether all nouns differ and the order from left to right is clear."""
    if len({thing.noun for thing in scene.things}) < len(scene.things):
        return False
    centres = sorted(thing.x for thing in scene.things)
    return all(b - a >= LIST_GAP * scene.side / PAGE for a, b in zip(centres, centres[1:]))


def lists(scene: Scene) -> list[Question]:
    """The questions whose answers name everything."""
    if not is_listable(scene):
        return []
    words = listing(scene.things)
    questions = [Question("list", "what is in the picture?", words)]
    if scene.background is not None:
        answer = f"{words} on a {scene.background} background".replace("a orange", "an orange")
        questions.append(Question("describe", "describe the picture.", answer))
    return questions


def _place(thing: Thing, side: int) -> str | None:
    """Which of the nine places a thing is at, if that is clear."""
    third, margin = side / 3, PLACE_MARGIN * side / PAGE
    for value in (thing.x, thing.y):
        if min(abs(value - third), abs(value - 2 * third)) < margin:
            return None
    return PLACES[int(thing.y // third) * 3 + int(thing.x // third)]


def _neighbour(scene: Scene, centre: Thing, direction: tuple[int, int]) -> Thing | None:
    """The only thing on one side of another, if there is no doubt about it."""
    least = _LEAST_DISTANCE * scene.side / PAGE
    found = []
    for thing in scene.things:
        if thing is centre:
            continue
        dx, dy = thing.x - centre.x, thing.y - centre.y
        along = dx * direction[0] + dy * direction[1]
        across = abs(dx * direction[1]) + abs(dy * direction[0])
        if along >= least and across <= _CONE * along:
            found.append(thing)
        elif along > 0 and across < _CLEAR_CONE * along:
            return None
        elif np.hypot(dx, dy) < least:
            return None
    return found[0] if len(found) == 1 else None


def all_questions(rng: np.random.Generator, scene: Scene) -> dict[str, list[Question]]:
    """Every fair short question about a scene, by kind; absent nouns are drawn at random."""
    counts = Counter(thing.noun for thing in scene.things)
    unique = [thing for thing in scene.things if counts[thing.noun] == 1]
    absent = [noun for noun in EMOJI_NOUNS + [SIGN] if noun not in counts]
    rng.shuffle(absent)
    found: dict[str, list[Question]] = {
        "yes": [_exists(rng, noun, "yes") for noun in counts],
        "no": [_exists(rng, noun, "no") for noun in absent[:8]],
        "count": [_count(rng, noun, counts[noun]) for noun in counts],
        "count-none": [_count(rng, noun, 0) for noun in absent[8:10]],
        "where": [],
        "beside": [],
        "colour": [],
        "sign": [],
    }
    for thing in unique:
        place = _place(thing, scene.side)
        if place is not None:
            found["where"].append(Question("where", f"where is the {thing.noun}?", place))
        if thing.noun == SIGN:
            text = "which letter or digit is on the sign?"
            found["sign"].append(Question("sign", text, thing.glyph))
        for words, direction in DIRECTIONS.items():
            other = _neighbour(scene, thing, direction)
            if other is not None:
                text = f"what is {words} the {thing.noun}?"
                found["beside"].append(Question("beside", text, with_article(other.noun)))
    if scene.background is not None:
        word = ("color", "colour")[rng.integers(2)]
        text = f"what {word} is the background?"
        found["colour"].append(Question("colour", text, scene.background))
    return found


def _exists(rng: np.random.Generator, noun: str, answer: str) -> Question:
    text = f"is there {with_article(noun)}?"
    if rng.random() < 0.3:
        text = f"is there {with_article(noun)} in the picture?"
    return Question("exists", text, answer)


def _count(rng: np.random.Generator, noun: str, count: int) -> Question:
    text = f"how many {plural(noun)} are there?"
    if rng.random() < 0.3:
        text = f"how many {plural(noun)} are in the picture?"
    return Question("count", text, NUMBERS[count])


def balanced(rng: np.random.Generator, scene: Scene, slots: int) -> list[Question]:
    """Short questions that fill the slots at most: as many "no" as "yes", few counts of one.

    More "no" would be easy to find, but then always saying "no" is a comfortable answer, and
    training stays there for long.
    """
    found = all_questions(rng, scene)
    pairs = min(len(found["yes"]), 4)
    one, zero = NUMBERS[1], found["count-none"][:1]
    several = [question for question in found["count"] if question.answer != one]
    single = _shuffled(rng, [question for question in found["count"] if question.answer == one])
    chosen = (
        found["sign"] + found["colour"] + several + single[: 1 if several else 2] + zero
        + _shuffled(rng, found["yes"])[:pairs] + found["no"][:pairs]
    )
    rest = _shuffled(rng, found["where"] + found["beside"])
    return _shuffled(rng, chosen + rest)[:slots]


def _shuffled(rng: np.random.Generator, questions: list[Question]) -> list[Question]:
    return [questions[i] for i in rng.permutation(len(questions))]
