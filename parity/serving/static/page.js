"use strict";
const $ = id => document.getElementById(id);
let model = "", picture = "", messages = [], asking = null;

function headers() {
  const key = $("key").value;
  return {"Content-Type": "application/json", ...(key && {Authorization: `Bearer ${key}`})};
}

async function failure(response) {
  const told = await response.json().catch(() => null);
  if (response.status === 401) $("locked").hidden = false;
  return told?.error?.message ?? `${response.status} ${response.statusText}`;
}

async function meet() {
  $("model").textContent = "Asking for the model\u2026";
  const response = await fetch("v1/models", {headers: headers()}).catch(() => null);
  if (!response?.ok) {
    $("model").textContent = response ? await failure(response) : "The server does not answer.";
    return;
  }
  model = (await response.json()).data[0].id;
  $("model").textContent = `Model ${model}`;
}

function turn(role, name) {
  const block = document.createElement("div"), head = document.createElement("b"), text = document.createElement("span");
  block.className = `turn ${role}`;
  head.textContent = name;
  block.append(head, text);
  $("talk").append(block);
  return {block, text};
}

function counted(block, usage) {
  const line = document.createElement("span");
  line.className = "counts";
  line.textContent = `${usage.prompt_tokens} tokens read, ${usage.completion_tokens} written`;
  block.append(line);
}

// The events of a stream, each as its JSON; a chunk of bytes may end anywhere.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let left = "";;) {
    const {value, done} = await reader.read();
    if (done) return;
    const lines = (left + value).split("\n");
    left = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

async function answer({block, text}, messages) {
  const body = {
    model, messages, stream: true, stream_options: {include_usage: true},
    temperature: Number($("temperature").value), max_completion_tokens: Number($("tokens").value),
  };
  const response = await fetch("v1/chat/completions", {
    method: "POST", headers: headers(), body: JSON.stringify(body), signal: asking.signal,
  });
  if (!response.ok) throw new Error(await failure(response));
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    text.textContent += event.choices[0]?.delta.content ?? "";
    if (event.usage) counted(block, event.usage);
    block.scrollIntoView({block: "end"});
  }
}

function busy(is) {
  asking = is ? new AbortController() : null;
  $("stop").hidden = !is;
  $("send").disabled = is;
}

function asked(text) {
  const shown = turn("user", "You");
  shown.text.textContent = text;
  if (picture) {
    const image = document.createElement("img");
    image.src = picture;
    image.alt = "The picture that was sent";
    shown.text.before(image);
  }
  const parts = picture ? [{type: "image_url", image_url: {url: picture}}] : [];
  return {role: "user", content: text ? [...parts, {type: "text", text}] : parts};
}

async function ask() {
  const text = $("text").value.trim(), talk = messages;
  if (asking || !(text || picture)) return;
  busy(true);
  if (!model) await meet();
  talk.push(asked(text));
  $("text").value = "";
  choose("");
  const said = turn("model", model || "Model");
  try {
    await answer(said, talk);
    talk.push({role: "assistant", content: said.text.textContent || " "});
  } catch (error) {
    talk.pop();
    if (error.name !== "AbortError") {
      said.text.textContent += said.text.textContent ? `\n${error.message}` : error.message;
      said.block.classList.add("wrong");
    }
  }
  busy(false);
}

function choose(url) {
  picture = url;
  $("chosen").hidden = !url;
  if (url) $("preview").src = url; else $("preview").removeAttribute("src");
  if (!url) $("picture").value = "";
}

$("picture").addEventListener("change", () => {
  const [file] = $("picture").files;
  if (!file) return;
  const reader = new FileReader();
  reader.onload = () => choose(reader.result);
  reader.readAsDataURL(file);
});
$("drop").addEventListener("click", () => choose(""));
$("stop").addEventListener("click", () => asking?.abort());
$("anew").addEventListener("click", () => { asking?.abort(); messages = []; $("talk").replaceChildren(); $("text").focus(); });
$("key").addEventListener("change", meet);
$("ask").addEventListener("submit", event => { event.preventDefault(); ask(); });
$("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); ask(); }
});
meet();
