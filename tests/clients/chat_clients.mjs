// Published chat clients, unmodified, against a server: `node chat_clients.mjs URL MODEL NAME...`, an image's URL on stdin.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [url, model, ...names] = process.argv.slice(2);
// The packages are where the tests are started, and not beside this file.
const { resolve } = createRequire(pathToFileURL(process.cwd() + "/"));
const load = (name) => import(pathToFileURL(resolve(name)));
const image = readFileSync(0, "utf8");
const QUESTION = "What is in the image?";
const KEY = "none";

const clients = {
  async vercel() {
    const { generateText, streamText } = await load("ai");
    const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
    const served = createOpenAICompatible({ name: "lumi", baseURL: url, apiKey: KEY })(model);
    const content = [{ type: "text", text: QUESTION }, { type: "image", image }];
    const asked = { model: served, temperature: 0, messages: [{ role: "user", content }] };
    let pieces = "";
    for await (const piece of streamText(asked).textStream) pieces += piece;
    return [(await generateText(asked)).text, pieces];
  },
  async langchain() {
    const { ChatOpenAI } = await load("@langchain/openai");
    const { HumanMessage } = await load("@langchain/core/messages");
    const chat = new ChatOpenAI({ model, apiKey: KEY, temperature: 0, configuration: { baseURL: url } });
    const asked = [new HumanMessage({ content: parts() })];
    let pieces = "";
    for await (const chunk of await chat.stream(asked)) pieces += chunk.content;
    return [(await chat.invoke(asked)).content, pieces];
  },
  async openai() {
    const { default: OpenAI } = await load("openai");
    const client = new OpenAI({ baseURL: url, apiKey: KEY, maxRetries: 0 });
    const asked = { model, temperature: 0, messages: [{ role: "user", content: parts() }] };
    const whole = await client.chat.completions.create(asked);
    let pieces = "";
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
      pieces += chunk.choices[0]?.delta.content ?? "";
    }
    return [whole.choices[0].message.content, pieces];
  },
};

function parts() {
  return [{ type: "text", text: QUESTION }, { type: "image_url", image_url: { url: image } }];
}

const answers = {};
for (const name of names) answers[name] = await clients[name]().catch((error) => [String(error)]);
console.log(JSON.stringify(answers));
