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


LIST_TEXTS = (
    "what is in the picture?", "what do you see?", "what is this?", "what can you see?",
    "what is in the image?", "what is it?", "what are these?",
)
DESCRIBE_TEXTS = ("describe the picture.", "describe the image.", "describe this picture.")
EXISTS_TEXTS = (
    "is there {}?", "is there {} in the picture?", "do you see {}?", "can you see {}?",
    "does the picture show {}?", "is there {} in the image?",
)
COUNT_TEXTS = (
    "how many {} are there?", "how many {} are in the picture?", "how many {} do you see?",
    "how many {} can you see?", "how many {} are in the image?",
)
SIGN_TEXTS = (
    "which letter or digit is on the sign?", "what is on the sign?", "what does the sign say?",
)
COLOUR_TEXTS = ("what color is the background?", "what colour is the background?")


def phrased(
    rng: np.random.Generator | None, texts: tuple[str, ...], usual: float = 0.55
) -> str:
    """Mostly the first way to ask, else any other; always the first without a generator."""
    if rng is None or rng.random() < usual:
        return texts[0]
    return texts[int(rng.integers(1, len(texts)))]


def groups(things: list[Thing]) -> list[tuple[str, int, float]]:
    """Nouns, how many of each, and where the leftmost of each is, from left to right."""
    found: dict[str, list[float]] = {}
    for thing in things:
        found.setdefault(thing.noun, []).append(thing.x)
    ordered = [(noun, len(places), min(places)) for noun, places in found.items()]
    return sorted(ordered, key=lambda group: group[2])


def listing(things: list[Thing]) -> str:
    """`a dog, two apples and a sign`, from left to right."""
    names = [
        with_article(noun) if count == 1 else f"{NUMBERS[count]} {plural(noun)}"
        for noun, count, _ in groups(things)
    ]
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " and " + names[-1]


def is_listable(scene: Scene) -> bool:
    """Whether the order of the nouns from left to right is clear."""
    starts = [start for _, _, start in groups(scene.things)]
    return all(b - a >= LIST_GAP * scene.side / PAGE for a, b in zip(starts, starts[1:]))


def lists(scene: Scene, rng: np.random.Generator | None = None) -> list[Question]:
    """The questions whose answers name everything; with a generator, asked in different ways."""
    if not is_listable(scene):
        return []
    words = listing(scene.things)
    questions = [Question("list", phrased(rng, LIST_TEXTS), words)]
    if scene.background is not None:
        answer = f"{words} on a {scene.background} background".replace("a orange", "an orange")
        questions.append(Question("describe", phrased(rng, DESCRIBE_TEXTS, 0.7), answer))
    return questions


def place_of(thing: Thing, side: int) -> str | None:
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


def all_questions(
    rng: np.random.Generator, scene: Scene, usual_words: bool = False
) -> dict[str, list[Question]]:
    """Every fair short question about a scene, by kind; absent nouns are drawn at random.

    Asked in different ways, or all in their usual words.
    """
    wording = None if usual_words else rng
    counts = Counter(thing.noun for thing in scene.things)
    unique = [thing for thing in scene.things if counts[thing.noun] == 1]
    absent = [noun for noun in EMOJI_NOUNS + [SIGN] if noun not in counts]
    rng.shuffle(absent)
    found: dict[str, list[Question]] = {
        "yes": [_exists(wording, noun, "yes") for noun in counts],
        "no": [_exists(wording, noun, "no") for noun in absent[:8]],
        "count": [_count(wording, noun, counts[noun]) for noun in counts],
        "count-none": [_count(wording, noun, 0) for noun in absent[8:10]],
        "where": [],
        "beside": [],
        "at": _at(scene),
        "total": [_total(rng, scene, wording)],
        "colour": [],
        "sign": [],
    }
    for thing in unique:
        place = place_of(thing, scene.side)
        if place is not None:
            found["where"].append(Question("where", f"where is the {thing.noun}?", place))
        if thing.noun == SIGN:
            text = phrased(wording, SIGN_TEXTS)
            found["sign"].append(Question("sign", text, thing.glyph))
        for words, direction in DIRECTIONS.items():
            other = _neighbour(scene, thing, direction)
            if other is not None:
                text = f"what is {words} the {thing.noun}?"
                found["beside"].append(Question("beside", text, with_article(other.noun)))
    if scene.background is not None:
        text = phrased(wording, COLOUR_TEXTS, 0.5)
        found["colour"].append(Question("colour", text, scene.background))
    return found


def _at(scene: Scene) -> list[Question]:
    """What is at a place, where one thing alone is there for certain."""
    places = [(place_of(thing, scene.side), thing) for thing in scene.things]
    if any(place is None for place, _ in places):
        return []
    taken = Counter(place for place, _ in places)
    return [
        Question("at", f"what is at the {place}?", with_article(thing.noun))
        for place, thing in places
        if taken[place] == 1
    ]


def _total(
    rng: np.random.Generator, scene: Scene, wording: np.random.Generator | None
) -> Question:
    text = phrased(wording, tuple(t.format("things") for t in COUNT_TEXTS))
    if rng.random() < 0.3:
        text = text.replace("things", "objects")
    return Question("total", text, NUMBERS[len(scene.things)])


def _exists(wording: np.random.Generator | None, noun: str, answer: str) -> Question:
    return Question("exists", phrased(wording, EXISTS_TEXTS).format(with_article(noun)), answer)


def _count(wording: np.random.Generator | None, noun: str, count: int) -> Question:
    text = phrased(wording, COUNT_TEXTS).format(plural(noun))
    return Question("count", text, NUMBERS[count])


# Short questions of a kind about one picture, at most.
_MOST = {"pairs": 4, "where": 4, "beside": 5, "at": 3}


def balanced(rng: np.random.Generator, scene: Scene, slots: int) -> list[Question]:
    """Short questions that fill the slots at most: as many "no" as "yes", few counts of one.

    More "no" would be easy to find, but then always saying "no" is a comfortable answer, and
    training stays there for long.
    """
    found = {kind: _shuffled(rng, asked) for kind, asked in all_questions(rng, scene).items()}
    pairs = min(len(found["yes"]), _MOST["pairs"])
    one, zero = NUMBERS[1], found["count-none"][: int(rng.random() < 0.6)]
    several = [question for question in found["count"] if question.answer != one]
    single = [question for question in found["count"] if question.answer == one]
    colour = found["colour"][: int(rng.random() < 0.5)]
    chosen = (
        found["sign"] + several[:2] + single[: 1 if several else 2] + zero + found["total"]
        + found["yes"][:pairs] + found["no"][:pairs] + colour
    )
    # Half of all things are in the center; that is not worth asking each time.
    found["where"] = [q for q in found["where"] if q.answer != "center" or rng.random() < 0.35]
    for kind in ("beside", "where", "at"):
        chosen += found[kind][: _MOST[kind]]
    return _shuffled(rng, chosen[:slots])


def _shuffled(rng: np.random.Generator, questions: list[Question]) -> list[Question]:
    return [questions[i] for i in rng.permutation(len(questions))]
