// Tokens a second of a GGUF file in llama.cpp: prefill of 640 tokens, then decoding.
//
//   npm install node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64-vulkan@3.22.1
//   GGML_VK_VISIBLE_DEVICES=0 node llama_cpp.mjs FILE.gguf vulkan     (or: cpu)

import {getLlama} from "node-llama-cpp";

const PROMPT = 640, STEPS = 32;
const [file, backend = "cpu", runs = "3"] = process.argv.slice(2);
const llama = await getLlama({gpu: backend === "cpu" ? false : backend, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath: file, gpuLayers: backend === "cpu" ? 0 : "max"});
const context = await model.createContext({contextSize: 1024, batchSize: PROMPT});
const vocabulary = 49152;
const prompt = Array.from({length: PROMPT}, (_, index) => (index * 37) % (vocabulary - 100) + 50);

let prefill = Infinity, decode = Infinity;
// The first run, which also compiles shaders, is not counted unless it is the only one.
for (let run = 0; run <= Number(runs); run++) {
    const sequence = context.getSequence();
    const start = performance.now();
    const tokens = sequence.evaluate(prompt, {temperature: 0});
    await tokens.next();
    const first = performance.now();
    let steps = 0;
    while (steps < STEPS && !(await tokens.next()).done) steps++;
    const end = performance.now();
    await sequence.dispose();
    if (run > 0 || runs === "0") {
        prefill = Math.min(prefill, (first - start) / 1000);
        decode = Math.min(decode, (end - first) / 1000 / steps);
    }
}
console.log(JSON.stringify({
    peer: "llama.cpp (node-llama-cpp 3.22.1)", backend, device: (await llama.getGpuDeviceNames())[0] ?? "CPU",
    prefill_per_second: PROMPT / prefill, decode_per_second: 1 / decode
}));
process.exit(0);
