"""Presets of places that are one's own: servers on this machine, resources in Azure."""

from __future__ import annotations

from collections.abc import Mapping

from llmhub_plugins.providers.openai_compatible.preset import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    OLD_LIMIT,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSCRIPTIONS,
    Preset,
    Quirks,
    Rule,
)

_LOCAL = Quirks(
    # What a chat template does with `developer` is the model's affair; every template knows `system`.
    rules=(Rule(rename=OLD_LIMIT),),
    developer=False,
)

_AZURE_NOTE = (
    "`account` is the resource's name, and models are called by the names of their deployments; its list of models "
    "names the models that could be deployed, so it is not asked for."
)

OWN: Mapping[str, Preset] = {
    "azure": Preset(
        title="Azure OpenAI, v1 API",
        base_url="https://{account}.openai.azure.com/openai/v1",
        variable="AZURE_OPENAI_API_KEY",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, IMAGES, SPEECH, TRANSCRIPTIONS),
        key_header="api-key",
        models="",
        source="https://learn.microsoft.com/en-us/azure/ai-foundry/openai/api-version-lifecycle",
        note=_AZURE_NOTE,
    ),
    "azure_deployments": Preset(
        title="Azure OpenAI, deployments with an api-version",
        base_url="https://{account}.openai.azure.com/openai",
        variable="AZURE_OPENAI_API_KEY",
        speaks=(CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, SPEECH),
        key_header="api-key",
        query="api-version={api_version}",
        api_version="2024-10-21",
        model_path="/deployments/{model}",
        models="",
        source="https://learn.microsoft.com/en-us/azure/ai-foundry/openai/reference",
        note=_AZURE_NOTE,
    ),
    "azure_inference": Preset(
        title="Azure AI model inference",
        base_url="https://{account}.services.ai.azure.com/models",
        variable="AZURE_AI_API_KEY",
        speaks=(CHAT, EMBEDDINGS),
        key_header="api-key",
        headers={"extra-parameters": "pass-through"},
        query="api-version={api_version}",
        api_version="2024-05-01-preview",  # recorded
        models="",
        source="https://learn.microsoft.com/en-us/rest/api/aifoundry/modelinference/",
        note=_AZURE_NOTE,
    ),
    "ollama": Preset(
        title="Ollama",
        base_url="http://127.0.0.1:11434/v1",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS),
        quirks=Quirks(
            rules=(Rule(rename=OLD_LIMIT, drop=("logit_bias",)),),
            developer=False,
            thoughts="reasoning",  # recorded
            several=False,
        ),
        source="https://docs.ollama.com/api/openai-compatibility",
        note="In its cloud `base_url` is https://ollama.com/v1, with a key.",
    ),
    "vllm": Preset(
        title="vLLM",
        base_url="http://127.0.0.1:8000/v1",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS, TRANSCRIPTIONS, RERANK),
        quirks=_LOCAL,
        source="https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
    ),
    "lm_studio": Preset(
        title="LM Studio",
        base_url="http://127.0.0.1:1234/v1",
        speaks=(CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS),
        quirks=Quirks(
            rules=_LOCAL.rules,
            developer=False,
            json_object=False,  # «'response_format.type' must be 'json_schema' or 'text'» (reported)
        ),
        source="https://lmstudio.ai/docs/developer/openai-compat",
    ),
    "llama_cpp": Preset(
        title="llama.cpp",
        base_url="http://127.0.0.1:8080/v1",
        speaks=(CHAT, COMPLETIONS, EMBEDDINGS, RERANK),
        quirks=_LOCAL,
        source="https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
    ),
}
