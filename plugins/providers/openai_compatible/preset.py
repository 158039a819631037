"""What can be said of a place that speaks OpenAI's formats: its address, its credentials, its quirks. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CHAT = "openai_chat"
RESPONSES = "openai_responses"
COMPLETIONS = "openai_completions"
EMBEDDINGS = "openai_embeddings"
IMAGES = "openai_images"
SPEECH = "openai_speech"
TRANSCRIPTIONS = "openai_transcriptions"
MODERATIONS = "openai_moderations"
RERANK = "openai_rerank"
"""Names of dialects, one an operation."""

CHAT_PATH = "/chat/completions"

OLD_LIMIT: Mapping[str, str] = {"max_completion_tokens": "max_tokens"}
"""Most places know the older name alone, or both."""

Structured = Literal["native", "json_object", "forced_tool", "refuse"]
"""How an answer in a JSON Schema is had: the place takes the schema itself; its JSON mode with the schema among the
instructions; a function that the model must call, whose arguments are the answer; not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of top-level fields of a body.

    path     the requests that it is for
    models   pattern searched for in the model's name; "" for all models
    drop     refused or not heeded there: left out, and listed if they said something
    forget   left out without a loss, for the place does it unasked
    rename   the same thing by another name
    clamp    least and greatest number
    words    words that are not known there, and the nearest that are
    longest  entries of a list at most
    """

    path: str = CHAT_PATH
    models: str = ""
    drop: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    clamp: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    longest: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a place differs from OpenAI. The defaults are OpenAI's own ways.

    rules             for single fields
    developer         whether the role `developer` is known; else it becomes `system`
    plain_text        content must be a string where it is nothing but text
    tool_id_length    ids of tool calls must be so many letters and digits; 0 for any
    message_drop      members of messages that are refused
    thoughts          the member in which an assistant's reasoning goes back: "" for none, "*" for as it came
    thoughts_required turns that called tools must bring it, if only empty
    strict_tools      whether `strict` of a function is known
    tools             whether functions are
    several           whether more than one choice can be asked for
    structured        how JSON Schemas are answered
    schema_models     pattern of the models that take a schema natively; "" for all. Others do as `otherwise`
    schema_without    fields that may not stand beside a native schema; with them it goes as `otherwise`
    otherwise         see above
    json_object       whether the plain JSON mode is known; else it is asked for as a schema of any object
    reasoning_beside  its completion tokens leave reasoning out
    sound_beside      its prompt tokens leave sound out
    """

    rules: tuple[Rule, ...] = ()
    developer: bool = True
    plain_text: bool = False
    tool_id_length: int = 0
    message_drop: tuple[str, ...] = ()
    thoughts: str = "*"
    thoughts_required: bool = False
    strict_tools: bool = True
    tools: bool = True
    several: bool = True
    structured: Structured = "native"
    schema_models: str = ""
    schema_without: tuple[str, ...] = ()
    otherwise: Structured = "forced_tool"
    json_object: bool = True
    reasoning_beside: bool = False
    sound_beside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A place.

    title       its name for people
    base_url    where the paths begin; ``{account}`` stands for the setting of that name; "" if only the operator knows
    variable    environment variable in which its key is usually kept; "" where none is needed
    speaks      dialects spoken there, best first
    key_header  header of the key; all but authorization carry it bare
    headers     further headers
    query       further query of every address; ``{api_version}`` stands for the setting
    api_version default of that setting
    model_path  what stands before the path of an operation; ``{model}`` is the model's name
    elsewhere   paths that lie at another place of the same host
    models      path of the list of models; "" if it has none, or none that names what can be asked for
    source      where all this is documented
    note        what else a person should know
    """

    title: str
    base_url: str = ""
    variable: str = ""
    speaks: tuple[str, ...] = (CHAT,)
    key_header: str = "authorization"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    api_version: str = ""
    model_path: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    models: str = "/models"
    quirks: Quirks = Quirks()
    source: str = ""
    note: str = ""
