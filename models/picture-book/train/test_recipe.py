"""Tests of the recipe's own promises; `pytest test_recipe.py check_splits.py` after `fetch.py`."""

import numpy as np
import torch

import batches
import easy_vqa
import questions
import vocabulary
from model import Layout, PictureBook, Size
from nouns import GLYPHS, NOUNS, plural
from questions import Question
from scene import Plan, draw

_SMALL = Size(
    vision_width=32, vision_layers=2, vision_heads=1, vision_mlp=32,
    text_width=64, text_layers=2, text_heads=2, text_mlp=32,
)


def scenes(count: int):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        yield rng, draw(rng, Plan())


def test_no_word_of_the_world_falls_apart_into_letters():
    letters = {f"##{glyph}" for glyph in "abcdefghijklmnopqrtuvwxyz"}
    for noun in NOUNS:
        for text in (noun, plural(noun)):
            tokens = vocabulary.tokenizer().encode(text, add_special_tokens=False).tokens
            assert not letters & set(tokens), tokens
    for glyph in GLYPHS:
        assert len(vocabulary.encode(glyph)) == 1


def test_unknown_words_are_spelt():
    tokens = vocabulary.tokenizer().encode("emu", add_special_tokens=False).tokens
    assert tokens == ["e", "##m", "##u"]


def test_answers_survive_the_tokenizer():
    for rng, scene in scenes(30):
        for question in questions.lists(scene) + questions.balanced(rng, scene, 99):
            ids = vocabulary.encode(question.answer)
            assert vocabulary.tokenizer().decode(list(ids)) == question.answer


def test_every_question_fits_its_slot():
    for rng, scene in scenes(60):
        batches.pack(questions.lists(scene), questions.balanced(rng, scene, batches.SHORT_SLOTS))
    for split in ("train", "test"):
        for asked in easy_vqa.questions(split).values():
            for text, answer in asked:
                batches.pack([], [Question("", text, answer)])


def test_yes_is_asked_as_often_as_no():
    answers = [
        question.answer
        for rng, scene in scenes(40)
        for question in questions.balanced(rng, scene, 99)
        if question.kind == "exists"
    ]
    assert answers.count("yes") == answers.count("no") > 40


def test_a_scene_is_a_function_of_its_seed():
    first, second = [[scene.pixels for _, scene in scenes(4)] for _ in range(2)]
    assert all((a == b).all() for a, b in zip(first, second))


def test_packed_questions_equal_lone_ones():
    torch.manual_seed(0)
    model = PictureBook(_SMALL)
    for block in model.text_blocks:
        torch.nn.init.normal_(block.out, std=0.1)
        torch.nn.init.normal_(block.down, std=0.1)
    image = torch.randn(1, 36, _SMALL.text_width)
    ids = torch.randint(5, 200, (1, 4 * 7))
    packed = model.text(image, ids, Layout(_SMALL, 36, [7] * 4))
    for slot in range(4):
        part = slice(slot * 7, (slot + 1) * 7)
        alone = model.text(image, ids[:, part], Layout(_SMALL, 36, [7], chunks=1))
        assert torch.allclose(alone, packed[:, part], atol=1e-4)
