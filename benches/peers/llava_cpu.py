"""LLaVA on the CPU, side by side: transformers (PyTorch) and mustdrop, picture to first token and tokens a second.

    python -m venv scratch && scratch/bin/pip install torch transformers
    cargo build --release
    scratch/bin/python benches/peers/llava_cpu.py target/release/mustdrop

Two models: the one inside the program, and one of random weights in the shape of CLIP-L/336 and a Llama of 1.1 B (2.8 GB,
made in --folder at the first run, as the hub has checkpoints). Both see one picture of 576 tokens and 59 tokens of text.
Every run of one is followed by a run of the other; figures are medians. `--only embedded` leaves the large one out. The first
run with quantised weights leaves them in the weight cache, whose files may be deleted afterwards.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import transformers

EMBEDDED = Path(__file__).parents[2] / "models/picture-book"
TEXT = (35, 24)
STEPS = 32


def mid_model(folder):
    """Random weights in a common shape, with the small model's tokenizer and templates; made once."""
    if (folder / "config.json").exists():
        return
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
            patch_size=14, projection_dim=768,
        ),
        text_config=transformers.LlamaConfig(
            vocab_size=32064, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
            num_key_value_heads=4, max_position_embeddings=2048, rms_norm_eps=1e-5,
        ),
        image_token_index=4,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = transformers.LlavaForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    partial = folder.with_suffix(".part")
    for name in ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json", "chat_template.jinja"]:
        partial.mkdir(parents=True, exist_ok=True)
        if (EMBEDDED / name).exists():
            shutil.copy(EMBEDDED / name, partial)
    # The hub's checkpoints are float16.
    model.half().save_pretrained(partial)
    partial.rename(folder)


class Transformers:
    """The reference implementation, in one process."""

    def __init__(self, folder, dtype):
        self.name = f"transformers {transformers.__version__}, {str(dtype).removeprefix('torch.')}"
        self.model = transformers.LlavaForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
        image = self.model.config.image_token_index
        self.ids = torch.tensor([[9] * TEXT[0] + [image] * 576 + [9] * TEXT[1]])
        self.pixels = torch.randn(1, 3, 336, 336, dtype=dtype)
        self.run()

    @torch.inference_mode()
    def run(self):
        start = time.perf_counter()
        output = self.model(input_ids=self.ids, pixel_values=self.pixels, use_cache=True, logits_to_keep=1)
        token = output.logits[:, -1:].argmax(-1)
        first = time.perf_counter()
        for _ in range(STEPS):
            output = self.model(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
            token = output.logits[:, -1:].argmax(-1)
        return {"first": first - start, "rate": STEPS / (time.perf_counter() - first)}


class Mustdrop:
    """`mustdrop bench` in a process of its own, which runs once uncounted."""

    def __init__(self, program, folder, weights, keep, admit="coverage"):
        self.name = f"mustdrop, {weights}" + (f", --keep {keep} --admit {admit}" if keep else "")
        model = [] if folder == EMBEDDED else ["--model", str(folder)]
        budget = ["--no-dense", "--keep", str(keep)] if keep else ["--keep", "dense"]
        self.command = [program, "bench", "--device", "cpu", "--weights", weights, "--json", "--runs", "1"]
        self.command += ["--steps", str(STEPS), "--admit", admit, *model, *budget]

    def run(self):
        found = subprocess.run(self.command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        [setting] = json.loads(found.stdout)["settings"]
        return {
            "first": setting["first_token"], "rate": setting["decode_per_second"], "peak": setting["peak_bytes"],
        }


def compare(title, peers, runs):
    print(f"\n{title}\n\n| | picture to first token, s | decode, tokens/s | peak, MB |\n|---|---|---|---|")
    results = {peer.name: [] for peer in peers}
    for _ in range(runs):
        for peer in peers:
            results[peer.name].append(peer.run())
    for name, found in results.items():
        median = lambda key: statistics.median(run[key] for run in found)
        peak = f"{median('peak') / 1e6:.0f}" if found[0].get("peak") else "-"
        print(f"| {name} | {median('first'):.3f} | {median('rate'):.1f} | {peak} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mustdrop")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mustdrop-mid-model")
    parser.add_argument("--only", choices=["embedded", "mid"])
    args = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {args.runs} runs")
    ours = lambda folder, *settings: [Mustdrop(args.mustdrop, folder, *setting) for setting in settings]
    if args.only != "mid":
        peers = [Transformers(EMBEDDED, torch.float32)]
        peers += ours(EMBEDDED, ("f32", None), ("f16", None), ("f32", 64), ("f32", 64, "class"))
        compare("Embedded model", peers, args.runs)
    if args.only != "embedded":
        mid_model(args.folder)
        peers = [Transformers(args.folder, torch.bfloat16)]
        peers += ours(args.folder, ("q8", None), ("q4", None), ("q8", 64), ("q4", 64), ("q8", 64, "class"), ("q4", 64, "class"))
        compare("CLIP-L/336 and a Llama of 1.1 B", peers, args.runs)


main()
