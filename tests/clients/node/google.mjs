// Google's SDK.

import { ApiError, GoogleGenAI } from '@google/genai';
import { z } from 'zod';
import { answerCases, callSchema, prompt, tokens, toolText, weatherAt, weatherSchema } from './cases.mjs';

const client = ({ url }) => new GoogleGenAI({ apiKey: 'test', httpOptions: { baseUrl: url } });

const declared = { name: 'get_weather', description: toolText, parametersJsonSchema: z.toJSONSchema(callSchema) };
const tools = [{ functionDeclarations: [declared] }];
const body = ({ model, scene }, config) => ({ model, contents: prompt(scene), config });

/** Of the chunks of an answer: each tells the tokens so far, the last is right. */
function said(chunks) {
  const candidates = chunks.flatMap((chunk) => chunk.candidates ?? []).filter((each) => !each.index);
  const parts = candidates.flatMap((candidate) => candidate.content?.parts ?? []);
  const usage = chunks.findLast((chunk) => chunk.usageMetadata)?.usageMetadata;
  const calls = chunks.flatMap((chunk) => chunk.functionCalls ?? []);
  return {
    text: parts.filter((part) => part.text && !part.thought).map((part) => part.text).join(''),
    thoughts: parts.filter((part) => part.text && part.thought).map((part) => part.text).join(''),
    calls: calls.map((call) => [call.name, call.args]),
    finish: candidates.findLast((candidate) => candidate.finishReason)?.finishReason ?? null,
    tokens: usage && tokens(
      usage.promptTokenCount, usage.cachedContentTokenCount,
      (usage.candidatesTokenCount ?? 0) + (usage.thoughtsTokenCount ?? 0), usage.thoughtsTokenCount,
    ),
  };
}

async function streamed(asked, config) {
  const chunks = [];
  for await (const chunk of await client(asked).models.generateContentStream(body(asked, config))) chunks.push(chunk);
  return chunks;
}

const whole = async (asked, config) => [await client(asked).models.generateContent(body(asked, config))];

/** Through the SDK's automatic function calling. */
async function loop(asked, answer) {
  const ran = [];
  const callable = {
    tool: async () => tools[0],
    callTool: async (calls) => calls.map(({ id, name, args }) => {
      ran.push([name, args]);
      return { functionResponse: { id, name, response: { output: weatherAt(args) } } };
    }),
  };
  // A stream holds the turns before the last too.
  const { text } = said(await answer(asked, { tools: [callable] }));
  return { text: text.replace('I look at both.', ''), ran };
}

async function object(asked, answer) {
  const config = { responseMimeType: 'application/json', responseJsonSchema: z.toJSONSchema(weatherSchema) };
  return weatherSchema.parse(JSON.parse(said(await answer(asked, config)).text));
}

await answerCases({
  whole: async (asked) => said(await whole(asked, { tools })),
  stream: async (asked) => said(await streamed(asked, { tools })),
  loop: (asked) => loop(asked, whole),
  loop_stream: (asked) => loop(asked, streamed),
  object: (asked) => object(asked, whole),
  object_stream: (asked) => object(asked, streamed),
  strict_tool: async (asked) => {
    const named = { name: 'tell_weather', description: toolText, parametersJsonSchema: z.toJSONSchema(weatherSchema) };
    const forced = { functionCallingConfig: { mode: 'ANY', allowedFunctionNames: ['tell_weather'] } };
    const config = { tools: [{ functionDeclarations: [named] }], toolConfig: forced };
    const [answer] = await whole(asked, config);
    return weatherSchema.parse(answer.functionCalls[0].args);
  },
  embed: async (asked) => {
    const { embeddings } = await client(asked).models.embedContent({ model: asked.model, contents: asked.texts });
    return { vectors: embeddings.map((each) => each.values) };
  },
}, (error) => error instanceof ApiError);
