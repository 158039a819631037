// OpenAI's SDK: Chat Completions and Responses.

import OpenAI from 'openai';
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import { answerCases, callSchema, prompt, tokens, toolText, weatherAt, weatherSchema } from './cases.mjs';

const client = ({ url }) => new OpenAI({ baseURL: url + '/v1', apiKey: 'test', maxRetries: 0 });

const jsonSchema = {
  type: 'object',
  properties: { city: { type: 'string' }, unit: { type: 'string' } },
  required: ['city'],
};
const isChat = ({ front }) => front === 'openai_chat';

// Chat Completions.

const chatTool = { type: 'function', function: { name: 'get_weather', description: toolText, parameters: jsonSchema } };
const chatBody = ({ model, scene }) => ({ model, messages: [{ role: 'user', content: prompt(scene) }] });

function chatSaid({ choices: [{ message, finish_reason }], usage }) {
  return {
    text: message.content ?? '',
    thoughts: message.reasoning_content ?? '',
    calls: (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
    finish: finish_reason,
    tokens: usage && tokens(
      usage.prompt_tokens, usage.prompt_tokens_details?.cached_tokens,
      usage.completion_tokens, usage.completion_tokens_details?.reasoning_tokens,
    ),
  };
}

async function chatStream(asked, more) {
  const body = { ...chatBody(asked), ...more, stream_options: { include_usage: true } };
  return await client(asked).chat.completions.stream(body).finalChatCompletion();
}

async function chatLoop(asked, streamed) {
  const ran = [];
  const run = (call) => (ran.push(['get_weather', call]), weatherAt(call));
  const tool = { ...chatTool, function: { ...chatTool.function, parse: JSON.parse, function: run } };
  const runner = client(asked).chat.completions.runTools({ ...chatBody(asked), tools: [tool], stream: streamed });
  return { text: await runner.finalContent(), ran };
}

// Responses.

const responsesTool = { type: 'function', name: 'get_weather', description: toolText, parameters: jsonSchema, strict: false };
const responsesBody = ({ model, scene }) => ({ model, input: prompt(scene), store: false });

function responsesSaid({ output, output_text, status, incomplete_details, usage }) {
  const reasoning = output.filter((item) => item.type === 'reasoning');
  const calls = output.filter((item) => item.type === 'function_call');
  return {
    text: output_text,
    thoughts: reasoning.flatMap((item) => item.summary.map((part) => part.text)).join(''),
    calls: calls.map((call) => [call.name, JSON.parse(call.arguments)]),
    finish: incomplete_details?.reason ?? status,
    tokens: usage && tokens(
      usage.input_tokens, usage.input_tokens_details?.cached_tokens,
      usage.output_tokens, usage.output_tokens_details?.reasoning_tokens,
    ),
  };
}

const responsesStream = async (asked, more) =>
  await client(asked).responses.stream({ ...responsesBody(asked), ...more }).finalResponse();

/** By hand, without a memory in the server: every item goes back as it came. */
async function responsesLoop(asked, streamed) {
  const ran = [];
  const input = [{ role: 'user', content: prompt(asked.scene) }];
  for (let turn = 0; turn < 5; turn++) {
    const body = { model: asked.model, input, store: false, tools: [responsesTool], include: ['reasoning.encrypted_content'] };
    const { responses } = client(asked);
    const answer = await (streamed ? responses.stream(body).finalResponse() : responses.create(body));
    const calls = answer.output.filter((item) => item.type === 'function_call');
    if (!calls.length) return { text: answer.output_text, ran };
    // The accumulator adds what it parsed; the API refuses members that it does not know.
    input.push(...answer.output.map(({ parsed_arguments, ...item }) => item));
    for (const call of calls) {
      const given = JSON.parse(call.arguments);
      ran.push([call.name, given]);
      input.push({ type: 'function_call_output', call_id: call.call_id, output: weatherAt(given) });
    }
  }
}

const chatFormat = { response_format: zodResponseFormat(weatherSchema, 'weather') };
const textFormat = { text: { format: zodTextFormat(weatherSchema, 'weather') } };

await answerCases({
  whole: async (asked) => isChat(asked)
    ? chatSaid(await client(asked).chat.completions.create({ ...chatBody(asked), tools: [chatTool] }))
    : responsesSaid(await client(asked).responses.create({ ...responsesBody(asked), tools: [responsesTool] })),
  stream: async (asked) => isChat(asked)
    ? chatSaid(await chatStream(asked, { tools: [chatTool] }))
    : responsesSaid(await responsesStream(asked, { tools: [responsesTool] })),
  loop: (asked) => (isChat(asked) ? chatLoop : responsesLoop)(asked, false),
  loop_stream: (asked) => (isChat(asked) ? chatLoop : responsesLoop)(asked, true),
  object: async (asked) => isChat(asked)
    ? (await client(asked).chat.completions.parse({ ...chatBody(asked), ...chatFormat })).choices[0].message.parsed
    : (await client(asked).responses.parse({ ...responsesBody(asked), ...textFormat })).output_parsed,
  object_stream: async (asked) => isChat(asked)
    ? (await chatStream(asked, chatFormat)).choices[0].message.parsed
    : (await responsesStream(asked, textFormat)).output_parsed,
  /** With a strict tool that the SDK itself parses, and that must be called. */
  strict_tool: async (asked) => {
    const named = { name: 'tell_weather', parameters: weatherSchema };
    if (isChat(asked)) {
      const body = { ...chatBody(asked), tools: [zodFunction(named)], tool_choice: 'required' };
      return (await client(asked).chat.completions.parse(body)).choices[0].message.tool_calls[0].function.parsed_arguments;
    }
    const body = { ...responsesBody(asked), tools: [zodResponsesFunction(named)], tool_choice: 'required' };
    return (await client(asked).responses.parse(body)).output.at(-1).parsed_arguments;
  },
  /** Asks for base64 if it is not told otherwise, and reads that. */
  embed: async (asked) => {
    const { data } = await client(asked).embeddings.create({ model: asked.model, input: asked.texts });
    return { vectors: data.map((each) => each.embedding) };
  },
}, (error) => error instanceof OpenAI.OpenAIError);
