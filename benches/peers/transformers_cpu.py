"""Tokens a second of a GGUF file in transformers on the CPU: prefill of 640 tokens, then greedy decoding.

python transformers_cpu.py FILE.gguf [float32|bfloat16]

Needs torch, transformers, gguf and accelerate from PyPI. transformers unpacks the file's weights when it loads them.
"""

import json
import sys
import time
from pathlib import Path

import torch
import transformers

PROMPT, STEPS, RUNS = 640, 32, 3


def fastest(run):
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@torch.inference_mode()
def main():
    path = Path(sys.argv[1])
    dtype = getattr(torch, sys.argv[2] if len(sys.argv) > 2 else "float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=dtype)
    model.eval()
    vocabulary = model.config.vocab_size
    prompt = torch.tensor([[index * 37 % (vocabulary - 100) + 50 for index in range(PROMPT)]])

    def answer(steps):
        output = model(prompt, use_cache=True, logits_to_keep=1)
        for _ in range(steps):
            token = output.logits[:, -1:].argmax(-1)
            output = model(token, past_key_values=output.past_key_values, use_cache=True)

    prefill = fastest(lambda: answer(0))
    decode = fastest(lambda: answer(STEPS)) - prefill
    print(json.dumps({
        "peer": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "threads": torch.get_num_threads(),
        "weights": str(dtype),
        "prefill_per_second": PROMPT / prefill,
        "decode_per_second": STEPS / decode,
    }))


main()
