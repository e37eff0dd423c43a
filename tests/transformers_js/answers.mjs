// Answers questions greedily with transformers.js. Standard input is JSON:
//   {"models": FOLDER, "package": NAME in it, "dtype": "fp32", "tokens": 16, "turns": [{"text", "image"?, "audio"?}]}
// where an image is a file and audio a list of samples at 16 kHz. Standard output is a JSON list, for each turn the ids
// of its prompt and those that are said.
import { readFileSync } from "node:fs";
import { AutoModelForImageTextToText, AutoProcessor, env, load_image } from "@huggingface/transformers";

const { models, package: name, dtype, tokens, turns } = JSON.parse(readFileSync(0, "utf8"));
env.allowRemoteModels = false;
env.localModelPath = models;

const processor = await AutoProcessor.from_pretrained(name);
const model = await AutoModelForImageTextToText.from_pretrained(name, { dtype, device: "cpu" });

const answers = [];
for (const { text, image, audio } of turns) {
  const content = [image && { type: "image" }, audio && { type: "audio" }, { type: "text", text }].filter(Boolean);
  const prompt = processor.apply_chat_template([{ role: "user", content }], { add_generation_prompt: true });
  const inputs = await processor(
    prompt,
    image ? await load_image(image) : null,
    audio ? Float32Array.from(audio) : null,
    { add_special_tokens: false },
  );
  const said = await model.generate({ ...inputs, max_new_tokens: tokens, do_sample: false });
  const ids = said.tolist()[0].map(Number);
  const length = inputs.input_ids.dims.at(-1);
  answers.push({ prompt: ids.slice(0, length), said: ids.slice(length) });
}
console.log(JSON.stringify(answers));
