"""docs/providers.md says what the table of presets says. Run this file to renew the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llmhub_plugins.providers.openai_compatible.preset import CHAT_PATH, Preset, Quirks, Rule
from llmhub_plugins.providers.openai_compatible.presets import PRESETS

PAGE = Path(__file__).parents[3] / "docs" / "providers.md"
BEGIN = "<!-- presets: made from the table, do not edit -->"
END = "<!-- end of presets -->"

_WAYS = {
    "native": "a JSON Schema is taken",
    "json_object": "a JSON Schema goes among the instructions, in JSON mode",
    "forced_tool": "a JSON Schema becomes a function that must be called",
    "refuse": "a JSON Schema is refused",
}


def rendered() -> str:
    """One section a preset."""
    return "\n".join(section(name, preset) for name, preset in PRESETS.items())


def section(name: str, preset: Preset) -> str:
    lines = [f"### `{name}`: {preset.title}", ""]
    lines.append(f"- Address: `{preset.base_url}`" + (f", `{preset.query}`" if preset.query else ""))
    lines.append(f"- Key: usually in `{preset.variable}`" if preset.variable else "- Key: none needed")
    lines.append("- Speaks: " + ", ".join(f"`{dialect}`" for dialect in preset.speaks))
    lines.extend(f"- {text}" for text in differences(preset.quirks))
    lines.extend(f"- {text}" for text in (preset.note,) if text)
    lines.append(f"- Source: <{preset.source}>")
    return "\n".join([*lines, ""])


def differences(quirks: Quirks) -> Iterator[str]:
    """What the hub does for the place, a sentence each."""
    for rule in quirks.rules:
        where = "" if rule.path == CHAT_PATH else f" (in `{rule.path}`)"
        which = f" (models matching `{rule.models}`)".replace("|", "\\|") if rule.models else ""
        yield from (f"{text}{where}{which}" for text in _of_rule(rule))
    if not quirks.developer:
        yield "The role `developer` becomes `system`"
    if quirks.plain_text:
        yield "Content in text parts becomes a string"
    if quirks.tool_id_length:
        yield f"Ids of tool calls become {quirks.tool_id_length} letters and digits, the same for call and result"
    if quirks.message_drop:
        yield "Left out of messages: " + _names(quirks.message_drop)
    if quirks.thoughts == "":
        yield "Reasoning of earlier turns does not go back"
    elif quirks.thoughts != "*":
        yield f"Reasoning of earlier turns goes back as `{quirks.thoughts}`" + (
            ", empty if there is none in a turn that called tools" if quirks.thoughts_required else ""
        )
    if not quirks.strict_tools:
        yield "`strict` of functions is left out"
    if not quirks.tools:
        yield "Functions are refused"
    if not quirks.several:
        yield "`n` above 1 is refused"
    if quirks.structured != "native":
        yield _capital(_WAYS[quirks.structured])
    if quirks.schema_models:
        models = quirks.schema_models.replace("|", "\\|")
        yield f"A JSON Schema is taken for models matching `{models}`; else {_WAYS[quirks.otherwise]}"
    if quirks.schema_without:
        yield f"With {_names(quirks.schema_without)}, {_WAYS[quirks.otherwise]}"
    if not quirks.json_object:
        yield "JSON mode is asked for as a schema of any object"
    if quirks.reasoning_beside:
        yield "Its completion tokens leave reasoning out; the hub adds it"
    if quirks.sound_beside:
        yield "Its prompt tokens leave sound out; the hub adds it"


def _of_rule(rule: Rule) -> Iterator[str]:
    if rule.drop:
        yield "Left out: " + _names(rule.drop)
    if rule.forget:
        yield "Not sent, for it happens anyway: " + _names(rule.forget)
    for name, other in rule.rename.items():
        yield f"`{name}` is sent as `{other}`"
    for name, (least, most) in rule.clamp.items():
        yield f"`{name}` between {least:g} and {most:g}"
    for name, words in rule.words.items():
        yield f"`{name}`: " + ", ".join(f"`{word}` becomes `{other}`" for word, other in words.items())
    for name, most_entries in rule.longest.items():
        yield f"`{name}`: {most_entries} at most"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def renewed(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{rendered()}\n{END}{after}"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count(BEGIN) == page.count(END) == 1
    assert page == renewed(page), f"renew it: python {Path(__file__).name}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
