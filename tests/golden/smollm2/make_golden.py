"""Makes expected.json and expected.safetensors with transformers' own reading of the GGUF file.

    python make_golden.py FOLDER/SmolLM2-135M-Instruct.Q4_1.gguf

Needs torch, transformers, accelerate, gguf and safetensors.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["The capital of France is", "Water boils at 100 degrees, and it freezes at"]
NEW_TOKENS = 16
# The beginning of Lewis Carroll, Alice's Adventures in Wonderland (1865).
TEXT = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: "
    "once or twice she had peeped into the book her sister was reading, but it had no pictures or conversations "
    "in it, \u201cand what is the use of a book,\u201d thought Alice \u201cwithout pictures or conversations?\u201d\n\n"
    "So she was considering in her own mind (as well as she could, for the hot day made her feel very sleepy and "
    "stupid), whether the pleasure of making a daisy-chain would be worth the trouble of getting up and picking "
    "the daisies, when suddenly a White Rabbit with pink eyes ran close by her.\n\n"
    "There was nothing so very remarkable in that; nor did Alice think it so very much out of the way to hear the "
    "Rabbit say to itself, \u201cOh dear! Oh dear! I shall be late!\u201d"
)


def main() -> None:
    file = Path(sys.argv[1])
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()

    def ids_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    prompts, logits = [], {}
    with torch.no_grad():
        for index, text in enumerate(PROMPTS):
            ids = ids_of(text)
            logits[f"logits_{index}"] = model(torch.tensor([ids])).logits[0, -1].clone()
            greedy = list(ids)
            for _ in range(NEW_TOKENS):
                greedy.append(model(torch.tensor([greedy])).logits[0, -1].argmax().item())
            prompts.append({"text": text, "ids": ids, "greedy": greedy[len(ids) :]})
        ids = torch.tensor([ids_of(TEXT)])
        losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1].double(), ids[0, 1:])

    here = Path(__file__).parent
    save_file(logits, here / "expected.safetensors")
    expected = {"prompts": prompts, "text": TEXT, "text_ids": ids[0].tolist(), "mean_nll": losses.item()}
    (here / "expected.json").write_text(json.dumps(expected) + "\n")


main()
