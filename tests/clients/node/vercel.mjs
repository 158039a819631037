// Vercel's AI SDK with each of its providers.

import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogle } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { AISDKError, Output, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai';
import { answerCases, callSchema, prompt, tokens, toolText, weatherAt, weatherSchema } from './cases.mjs';

const apiKey = 'test';

const provider = {
  openai_chat: (url, model) => createOpenAI({ baseURL: url + '/v1', apiKey }).chat(model),
  openai_responses: (url, model) => createOpenAI({ baseURL: url + '/v1', apiKey }).responses(model),
  anthropic: (url, model) => createAnthropic({ baseURL: url + '/v1', apiKey })(model),
  gemini: (url, model) => createGoogle({ baseURL: url + '/v1beta', apiKey })(model),
};

const options = ({ front, url, model, scene }) => ({
  model: provider[front](url, model),
  prompt: prompt(scene),
  maxRetries: 0,
  // What OpenAI's server does not keep must be sent whole.
  providerOptions: front === 'openai_responses' ? { openai: { store: false } } : {},
});

const declared = { description: toolText, inputSchema: callSchema };

async function said(result) {
  const usage = await result.usage;
  return {
    text: await result.text,
    thoughts: (await result.reasoningText) ?? '',
    calls: (await result.toolCalls).map((call) => [call.toolName, call.input]),
    finish: await result.finishReason,
    tokens: tokens(
      usage.inputTokens, usage.inputTokenDetails.cacheReadTokens,
      usage.outputTokens, usage.outputTokenDetails.reasoningTokens,
    ),
  };
}

/** A stream that fails says so in a part; without this it would only be told to a callback. */
async function streamed(settings) {
  const result = streamText({ ...settings, onError: () => {} });
  for await (const part of result.stream) if (part.type === 'error') throw part.error;
  return result;
}

async function loop(asked, generate) {
  const ran = [];
  const execute = (call) => (ran.push(['get_weather', call]), weatherAt(call));
  const tools = { get_weather: tool({ ...declared, execute }) };
  const result = await generate({ ...options(asked), tools, stopWhen: stepCountIs(4) });
  return { text: await result.text, ran };
}

await answerCases({
  whole: async (asked) => said(await generateText({ ...options(asked), tools: { get_weather: tool(declared) } })),
  stream: async (asked) => said(await streamed({ ...options(asked), tools: { get_weather: tool(declared) } })),
  loop: (asked) => loop(asked, generateText),
  loop_stream: (asked) => loop(asked, streamed),
  object: async (asked) => (await generateObject({ ...options(asked), schema: weatherSchema })).object,
  object_stream: async (asked) => {
    const result = streamObject({ ...options(asked), schema: weatherSchema, onError: () => {} });
    for await (const part of result.fullStream) if (part.type === 'error') throw part.error;
    return await result.object;
  },
  /** The newer way: any text generation may end in an object. */
  output: async (asked) =>
    (await generateText({ ...options(asked), output: Output.object({ schema: weatherSchema }) })).output,
  strict_tool: async (asked) => {
    const tools = { tell_weather: tool({ description: toolText, inputSchema: weatherSchema, strict: true }) };
    const result = await generateText({ ...options(asked), tools, toolChoice: { type: 'tool', toolName: 'tell_weather' } });
    return result.toolCalls[0].input;
  },
  embed: async ({ front, url, model, texts }) => {
    const embedding = front === 'gemini'
      ? createGoogle({ baseURL: url + '/v1beta', apiKey }).embedding(model)
      : createOpenAI({ baseURL: url + '/v1', apiKey }).embedding(model);
    return { vectors: (await embedMany({ model: embedding, values: texts, maxRetries: 0 })).embeddings };
  },
}, (error) => AISDKError.isInstance(error));
