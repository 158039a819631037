"""The places that are known by name. Facts stand beside their source; where none is named it is the place's own API
reference at `source`. «recorded» means seen in recorded traffic, «reported» in public reports."""

from __future__ import annotations

from collections.abc import Mapping

from llmhub_plugins.providers.openai_compatible.preset import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    MODERATIONS,
    OLD_LIMIT,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSCRIPTIONS,
    Preset,
    Quirks,
    Rule,
)
from llmhub_plugins.providers.openai_compatible.presets_own import OWN

HOSTED: Mapping[str, Preset] = {
    "groq": Preset(
        title="Groq",
        base_url="https://api.groq.com/openai/v1",
        variable="GROQ_API_KEY",
        speaks=(CHAT, RESPONSES, TRANSCRIPTIONS, SPEECH),
        quirks=Quirks(
            rules=(
                Rule(drop=("logprobs", "top_logprobs", "logit_bias", "metadata", "store")),
                Rule(models=r"gpt-oss", words={"reasoning_effort": {"none": "low", "minimal": "low", "xhigh": "high"}}),
                Rule(
                    models=r"qwen",
                    words={"reasoning_effort": dict.fromkeys(("minimal", "low", "medium", "high", "xhigh"), "default")},
                ),
            ),
            message_drop=("name", "refusal", "annotations", "audio"),  # unknown members are a 400 (reported)
            thoughts="reasoning",  # recorded; its answers have it under this name
            several=False,
            # https://console.groq.com/docs/structured-outputs: some models, neither streamed nor with tools.
            schema_models=r"gpt-oss|llama-4|kimi-k2",
            schema_without=("stream", "tools"),
        ),
        source="https://console.groq.com/docs/openai",
    ),
    "mistral": Preset(
        title="Mistral",
        base_url="https://api.mistral.ai/v1",
        variable="MISTRAL_API_KEY",
        speaks=(CHAT, EMBEDDINGS, MODERATIONS, TRANSCRIPTIONS),
        quirks=Quirks(
            # Unknown fields are a 422 `extra_forbidden` (reported for max_completion_tokens, tools: [] and others).
            rules=(
                Rule(
                    rename={**OLD_LIMIT, "seed": "random_seed"},
                    drop=("logprobs", "top_logprobs", "logit_bias", "user", "store", "verbosity"),
                    forget=("stream_options",),  # its last chunk has the usage anyway (recorded)
                    words={"reasoning_effort": {"minimal": "none", "low": "high", "medium": "high", "xhigh": "high"}},
                ),
                Rule(path="/embeddings", rename={"dimensions": "output_dimension"}, drop=("user",)),
            ),
            developer=False,
            tool_id_length=9,  # «must be a-z, A-Z, 0-9, with a length of 9» (reported), 61 of 62 of its own (recorded)
            message_drop=("refusal", "annotations", "audio", "function_call"),
            thoughts="",  # it takes them as parts of the content (recorded), under no other name
            sound_beside=True,  # recorded: 9 prompt + 375 audio + 248 completion = 632
        ),
        source="https://docs.mistral.ai/api/",
    ),
    "deepseek": Preset(
        title="DeepSeek",
        base_url="https://api.deepseek.com",
        variable="DEEPSEEK_API_KEY",
        speaks=(CHAT, RESPONSES),
        quirks=Quirks(
            rules=(
                Rule(rename=OLD_LIMIT, drop=("logit_bias", "seed"), longest={"stop": 16}),
                Rule(models=r"reasoner", drop=("logprobs", "top_logprobs")),
            ),
            developer=False,
            plain_text=True,  # «invalid type: sequence, expected a string» (reported)
            # https://api-docs.deepseek.com/guides/thinking_mode: without it a turn with calls is a 400; empty will do.
            thoughts="reasoning_content",
            thoughts_required=True,
            strict_tools=False,  # only below /beta
            several=False,
            structured="json_object",
        ),
        source="https://api-docs.deepseek.com/api/create-chat-completion",
    ),
    "xai": Preset(
        title="xAI",
        base_url="https://api.x.ai/v1",
        variable="XAI_API_KEY",
        speaks=(CHAT, RESPONSES, IMAGES),
        quirks=Quirks(
            rules=(
                Rule(drop=("logit_bias",)),
                # https://docs.x.ai/docs/guides/reasoning: its reasoning models refuse these.
                Rule(
                    models=r"^(?!.*non-reasoning).*grok-(?:3-mini|[4-9]|code)",
                    drop=("presence_penalty", "frequency_penalty", "stop"),
                ),
                Rule(models=r"grok-(?:4(?:-|$)|code)", drop=("reasoning_effort",)),
                Rule(
                    models=r"grok-3-mini",
                    words={"reasoning_effort": {"none": "low", "minimal": "low", "medium": "high", "xhigh": "high"}},
                ),
                Rule(words={"reasoning_effort": {"minimal": "low", "xhigh": "high"}}),
            ),
            reasoning_beside=True,  # 37 of 37 recorded: total = prompt + completion + reasoning
        ),
        source="https://docs.x.ai/docs/api-reference",
    ),
    "together": Preset(
        title="Together AI",
        base_url="https://api.together.xyz/v1",
        variable="TOGETHER_API_KEY",
        speaks=(CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, SPEECH, TRANSCRIPTIONS, RERANK),
        quirks=Quirks(rules=(Rule(rename=OLD_LIMIT),), developer=False),
        source="https://docs.together.ai/docs/openai-api-compatibility",
    ),
    "openrouter": Preset(
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        variable="OPENROUTER_API_KEY",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS),
        headers={"x-title": "llm-hub"},
        source="https://openrouter.ai/docs/api-reference/overview",
        note="`headers` may say your own `x-title` and `http-referer`. It lists its models to anybody.",
    ),
    "cerebras": Preset(
        title="Cerebras",
        base_url="https://api.cerebras.ai/v1",
        variable="CEREBRAS_API_KEY",
        speaks=(CHAT, COMPLETIONS),
        quirks=Quirks(
            rules=(Rule(drop=("frequency_penalty", "presence_penalty", "logit_bias")),),
            developer=False,  # https://inference-docs.cerebras.ai/resources/openai
            thoughts="reasoning",
            schema_without=("tools",),
            otherwise="json_object",
        ),
        source="https://inference-docs.cerebras.ai/resources/openai",
    ),
    "fireworks": Preset(
        title="Fireworks AI",
        base_url="https://api.fireworks.ai/inference/v1",
        variable="FIREWORKS_API_KEY",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, RERANK),
        quirks=Quirks(rules=(Rule(rename=OLD_LIMIT),), developer=False, thoughts="reasoning_content"),
        source="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    ),
    "perplexity": Preset(
        title="Perplexity",
        base_url="https://api.perplexity.ai",
        variable="PERPLEXITY_API_KEY",
        models="",
        quirks=Quirks(
            rules=(
                Rule(
                    rename=OLD_LIMIT,
                    drop=("seed", "logit_bias", "logprobs", "top_logprobs", "user", "stop", "store", "metadata"),
                    forget=("stream_options",),  # every chunk has the usage so far (recorded)
                    words={"reasoning_effort": {"none": "minimal", "xhigh": "high"}},
                ),
            ),
            developer=False,
            thoughts="",
            tools=False,
            several=False,
            json_object=False,
        ),
        source="https://docs.perplexity.ai/api-reference/chat-completions-post",
    ),
    "sambanova": Preset(
        title="SambaNova",
        base_url="https://api.sambanova.ai/v1",
        variable="SAMBANOVA_API_KEY",
        speaks=(CHAT, EMBEDDINGS, TRANSCRIPTIONS),
        quirks=Quirks(
            rules=(
                Rule(
                    rename=OLD_LIMIT,
                    drop=("logprobs", "top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "seed"),
                ),
            ),
            developer=False,
            strict_tools=False,
            several=False,
        ),
        source="https://docs.sambanova.ai/docs/en/features/openai-compatibility",
    ),
    "nvidia": Preset(
        title="NVIDIA NIM",
        base_url="https://integrate.api.nvidia.com/v1",
        variable="NVIDIA_API_KEY",
        speaks=(CHAT, COMPLETIONS, EMBEDDINGS),
        quirks=Quirks(rules=(Rule(rename=OLD_LIMIT),), developer=False),
        source="https://docs.api.nvidia.com/nim/reference/llm-apis",
    ),
    "deepinfra": Preset(
        title="DeepInfra",
        base_url="https://api.deepinfra.com/v1/openai",
        variable="DEEPINFRA_API_KEY",
        speaks=(CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, SPEECH, TRANSCRIPTIONS),
        quirks=Quirks(
            # https://deepinfra.com/docs/advanced/function_calling: the model decides, or does not call at all.
            rules=(Rule(rename=OLD_LIMIT, words={"tool_choice": {"required": "auto", "any": "auto"}}),),
            developer=False,
        ),
        source="https://deepinfra.com/docs/openai_api",
    ),
    "moonshot": Preset(
        title="Moonshot AI (Kimi)",
        base_url="https://api.moonshot.ai/v1",
        variable="MOONSHOT_API_KEY",
        speaks=(CHAT, RESPONSES),
        quirks=Quirks(
            rules=(
                Rule(drop=("logit_bias", "logprobs", "top_logprobs"), words={"tool_choice": {"required": "auto"}}),
                Rule(models=r"^moonshot", clamp={"temperature": (0.0, 1.0)}),
                # Fixed by the platform for its newer models, which refuse any other value.
                Rule(models=r"^kimi", drop=("temperature", "top_p", "n", "presence_penalty", "frequency_penalty")),
            ),
            developer=False,
            thoughts="reasoning_content",
            thoughts_required=True,  # as DeepSeek (reported)
            strict_tools=False,
            structured="json_object",
        ),
        source="https://platform.moonshot.ai/docs/api/chat",
        note="In China `base_url` is https://api.moonshot.cn/v1.",
    ),
    "zai": Preset(
        title="Z.AI (GLM)",
        base_url="https://api.z.ai/api/paas/v4",
        variable="ZAI_API_KEY",
        quirks=Quirks(
            rules=(
                Rule(
                    rename=OLD_LIMIT,
                    drop=(
                        *("seed", "logit_bias", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty"),
                        "parallel_tool_calls",
                    ),
                    clamp={"temperature": (0.0, 1.0), "top_p": (0.01, 1.0)},
                    words={"tool_choice": {"required": "auto", "none": "auto"}},
                    longest={"stop": 1},
                ),
            ),
            developer=False,
            thoughts="reasoning_content",  # recorded
            several=False,
            structured="json_object",
        ),
        source="https://docs.z.ai/api-reference/llm/chat-completion",
        note="The coding plan's `base_url` is https://api.z.ai/api/coding/paas/v4.",
    ),
    "qwen": Preset(
        title="Qwen (Alibaba DashScope)",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        variable="DASHSCOPE_API_KEY",
        speaks=(CHAT, EMBEDDINGS),
        quirks=Quirks(
            rules=(Rule(rename=OLD_LIMIT, drop=("logit_bias", "user"), words={"tool_choice": {"required": "auto"}}),),
            developer=False,
            thoughts="reasoning_content",
            strict_tools=False,
            structured="json_object",
        ),
        source="https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
        note="In China `base_url` is https://dashscope.aliyuncs.com/compatible-mode/v1.",
    ),
    "minimax": Preset(
        title="MiniMax",
        base_url="https://api.minimax.io/v1",
        variable="MINIMAX_API_KEY",
        quirks=Quirks(
            rules=(
                Rule(drop=("presence_penalty", "frequency_penalty", "logit_bias"), clamp={"temperature": (0.01, 1.0)}),
            ),
            developer=False,
            several=False,
            structured="json_object",
        ),
        source="https://platform.minimax.io/docs/api-reference/text-openai-api",
    ),
    "github": Preset(
        title="GitHub Models",
        base_url="https://models.github.ai/inference",
        variable="GITHUB_TOKEN",
        speaks=(CHAT, EMBEDDINGS),
        headers={"x-github-api-version": "2022-11-28"},
        elsewhere={"/models": "/catalog/models"},
        source="https://docs.github.com/en/rest/models/inference",
    ),
    "huggingface": Preset(
        title="Hugging Face router",
        base_url="https://router.huggingface.co/v1",
        variable="HF_TOKEN",
        speaks=(CHAT, RESPONSES),
        quirks=Quirks(developer=False),
        source="https://huggingface.co/docs/inference-providers/index",
    ),
    "cohere": Preset(
        title="Cohere",
        base_url="https://api.cohere.ai/compatibility/v1",
        variable="COHERE_API_KEY",
        speaks=(CHAT, EMBEDDINGS, RERANK),
        elsewhere={"/models": "/v1/models", "/rerank": "/v2/rerank"},
        quirks=Quirks(
            rules=(
                Rule(
                    rename=OLD_LIMIT,
                    drop=(
                        *("store", "metadata", "logit_bias", "top_logprobs", "modalities", "prediction", "audio"),
                        *("service_tier", "parallel_tool_calls", "user"),
                    ),
                    words={"reasoning_effort": {"minimal": "none", "low": "high", "medium": "high", "xhigh": "high"}},
                ),
                Rule(path="/embeddings", drop=("user",)),
            ),
            thoughts="",
            several=False,
        ),
        source="https://docs.cohere.com/docs/compatibility-api",
    ),
    "gemini": Preset(
        title="Gemini's OpenAI endpoint",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        variable="GEMINI_API_KEY",
        speaks=(CHAT, EMBEDDINGS, IMAGES),
        quirks=Quirks(rules=(Rule(drop=("logit_bias",)),), thoughts=""),
        source="https://ai.google.dev/gemini-api/docs/openai",
        note="The kind `gemini` speaks Google's own format, which says more.",
    ),
    "vercel": Preset(
        title="Vercel AI Gateway",
        base_url="https://ai-gateway.vercel.sh/v1",
        variable="AI_GATEWAY_API_KEY",
        speaks=(CHAT, EMBEDDINGS),
        quirks=Quirks(reasoning_beside=True),  # recorded with Gemini models: 10 completion beside 37 reasoning
        source="https://vercel.com/docs/ai-gateway/openai-compat",
    ),
    "avian": Preset(
        title="Avian",
        base_url="https://api.avian.io/v1",
        variable="AVIAN_API_KEY",
        quirks=Quirks(developer=False),
        source="https://avian.io/docs",
    ),
}

PRESETS: Mapping[str, Preset] = {**HOSTED, **OWN}
