"""Writes MODEL_CARD.md from the exported folder: what is measured is read, never typed in."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import torch

import export
import paths
from nouns import COLOURS, EASY_VQA_WORDS, EMOJI_NOUNS, GLYPHS
from scene import LARGEST, SMALLEST
from score import read_questions
from stages import STAGES

_HEAD = """# Picture book

A small LLaVA (`LlavaForConditionalGeneration`) for drawn scenes of everyday things: the model that
`mustdrop` carries with it. It was trained from scratch on two processor cores by the recipe in
[`train/`](train/README.md). **It knows no photographs**; for those use
`llava-hf/llava-1.5-7b-hf`.

## What it is

| part | size |
|---|---|
| vision | CLIP ViT with [CLS], {vision_width} wide, {vision_layers} layers, {vision_heads} heads; 336 px, patches of 14 px: 576 tokens; features of the last layer but one |
| projector | two linear layers with GELU |
| decoder | Llama, {text_width} wide, {text_layers} layers, {text_heads} heads of {head}; {words} words |
| file | {parameters:.1f} M parameters, float16, {megabytes:.1f} MB |

It answers `USER: <image>\\n{{question}} ASSISTANT:` (its chat template writes that).

## What it knows

- {nouns} things: {noun_list}; and signs that show one of {glyphs} letters and digits.
- {colours} background colours: {colour_list}.
- Things of {smallest} to {largest} px in pictures of 336 px, up to six of them.
- easy-VQA's coloured shapes.

Questions: `what is in the picture?` (also `what do you see?`, `what is this?`),
`describe the picture.`, `is there a dog?` (also `do you see a dog?`), `how many dogs are there?`,
`how many things are there?`, `where is the dog?`, `what is at the top left?`,
`what is left of the dog?` (right of, above, below), `what color is the background?`,
`which letter or digit is on the sign?`, and those of easy-VQA. Words it does not know are read
letter by letter, and its answers to them mean nothing.
"""

_DATA = """
## Data and licences

| what | from | licence |
|---|---|---|
| drawings, first style | Noto Emoji, in npm `emoji-datasource-google` 16.0.0 | Apache-2.0, Google |
| drawings, second style | Twemoji, in npm `emoji-datasource-twitter` 16.0.0 | CC-BY 4.0 |
| third style, only to test with | Fluent Emoji, in npm `@lobehub/fluent-emoji-3d` 1.1.0 | MIT, Microsoft |
| coloured shapes | `easy-vqa` 1.0, its official training split | MIT, Victor Zhou |

Twemoji: copyright Twitter, Inc. and other contributors, graphics licensed under CC-BY 4.0
(https://creativecommons.org/licenses/by/4.0/); resized, turned and composed into scenes here. The
sample pictures show drawings of the first two styles. Backgrounds and signs are drawn by the recipe.
"""

_LIMITS = """
## Limits

- It answers {unseen_scenes} of the questions about unseen scenes rightly, {simple_scenes} of those
  about simple ones (one to three large things on one colour), and {unseen_style} of those about
  scenes in an art style that it has not seen.
- Counting and long lists are hard for it. Its weakest types on unseen scenes:
  {weakest}.
- It may miss a thing in the colour of its ground.
- It has seen no photographs.
- It knows only the nouns above, in the questions' own phrasings.
- Lists name things from left to right, each kind once, where its first one is.
- Scores are of greedy decoding, and an answer is right only if it is exactly the expected one.
- No token was dropped or merged in training.
"""


def training_table(checkpoint: dict) -> str:
    """Stages done, as the checkpoints tell."""
    rows = ["| stage | picture | pictures a step | steps | minutes |", "|---|---|---|---|---|"]
    for stage in STAGES:
        path = paths.CHECKPOINTS / f"{stage.name}.pt"
        if not path.exists():
            continue
        state = torch.load(path, weights_only=True)
        side, minutes = stage.grid * 14, state["seconds"] / 60
        rows.append(
            f"| {stage.name} | {side} px | {2 * stage.batch} | {state['step']} | {minutes:.0f} |"
        )
        if stage.name == checkpoint["stage"]:
            break
    return "\n".join(rows)


def whole_sizes(names: Iterable[str]) -> dict[str, int]:
    """How many questions each test set has."""
    asked = {name: read_questions(paths.TEST_SETS / name) for name in names}
    return {name: sum(map(len, by_picture.values())) for name, by_picture in asked.items()}


def parts_scored(scores: dict, whole: dict[str, int]) -> str:
    """A sentence for each set of which only a part was scored."""
    text = ""
    for name, result in scores["sets"].items():
        if result["questions"] < whole[name]:
            # Not every report tells the number of pictures.
            pictures = f"{result['pictures']} " if "pictures" in result else ""
            text += (
                f" Of {name}, {pictures}evenly chosen pictures were scored:"
                f" {result['questions']} of {whole[name]} questions."
            )
    return text


def score_table(scores: dict) -> str:
    rows = ["| set | type | accuracy | questions |", "|---|---|---|---|"]
    for name, result in scores["sets"].items():
        rows.append(f"| **{name}** | all | **{result['accuracy']:.1%}** | {result['questions']} |")
        for kind, entry in result["by_type"].items():
            rows.append(f"| | {kind} | {entry['accuracy']:.1%} | {entry['questions']} |")
    return "\n".join(rows)


def limits(scores: dict, weakest: int = 4) -> str:
    """What it cannot do, with the scores that show it."""
    sets = scores["sets"]
    types = sets["unseen-scenes"]["by_type"].items()
    lowest = sorted(types, key=lambda item: item[1]["accuracy"])[:weakest]
    return _LIMITS.format(
        **{name.replace("-", "_"): f"{result['accuracy']:.1%}" for name, result in sets.items()},
        weakest=", ".join(f"{kind} {entry['accuracy']:.1%}" for kind, entry in lowest),
    )


def card(out: Path, checkpoint_path: Path) -> str:
    checkpoint = torch.load(checkpoint_path, weights_only=True)
    size = checkpoint["size"]
    weights = out / "model.safetensors"
    config = json.loads((out / "config.json").read_text())
    head = _HEAD.format(
        **size,
        head=size["text_width"] // size["text_heads"],
        words=config["text_config"]["vocab_size"],
        parameters=weights.stat().st_size / 2e6,
        megabytes=weights.stat().st_size / 1e6,
        nouns=len(EMOJI_NOUNS),
        noun_list=", ".join(EMOJI_NOUNS),
        glyphs=len(GLYPHS),
        colours=len(COLOURS),
        colour_list=", ".join(c for c in COLOURS if c not in EASY_VQA_WORDS),
        smallest=SMALLEST,
        largest=LARGEST,
    )
    scores = json.loads((out / "eval.json").read_text())
    part = parts_scored(scores, whole_sizes(scores["sets"]))
    training = (
        "\n## Training\n\n" + training_table(checkpoint)
        + "\n\nTwo single-threaded ranks, bfloat16 over float32 weights; Muon and AdamW. The stages,"
        " losses and seeds are in the recipe.\n"
    )
    results = (
        f"\n## Scores, no token dropped\n\nFloat16 weights.{part}\n\n{score_table(scores)}\n"
    )
    return head + results + training + _DATA + limits(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="the newest one if left out")
    parser.add_argument("--out", type=Path, default=paths.OUT)
    options = parser.parse_args()
    text = card(options.out, options.checkpoint or export.newest_checkpoint())
    (options.out / "MODEL_CARD.md").write_text(text)


if __name__ == "__main__":
    main()
