"""Renders every template here, and the one-liners below, with transformers, and writes `expected.json`."""

import json
from pathlib import Path

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

from idioms import LINES

TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "image_token": "<image>",
}

# Each turn: the role, the number of pictures, the words.
TURNS = {
    "image": [("user", 1, "What is in the picture?")],
    "system": [("system", 0, "You are terse."), ("user", 1, "What is in the picture?")],
    "turns": [("user", 1, "What is this?"), ("assistant", 0, "A cat."), ("user", 0, "What colour?")],
    "two": [("user", 2, "Which one is older?")],
    "special": [("user", 1, "It's \"so\" <b>bold</b> & 5 > 3:\nnaïve 日本 🐈\u200d⬛ \\n {{ x }} {% y %}  ")],
    "markers": [("user", 1, "Say </think> and [INST] then <image> or <|im_end|>")],
}


def parts(pictures, words):
    return [{"type": "image"}] * pictures + [{"type": "text", "text": words}]


CONVERSATIONS = {}
for name, turns in TURNS.items():
    CONVERSATIONS[name + ".parts"] = [{"role": r, "content": parts(n, w)} for r, n, w in turns]
    CONVERSATIONS[name + ".text"] = [{"role": r, "content": "<image>\n" * n + w} for r, n, w in turns]

# White space, written with Python's escapes because a line break is part of the template.
SPACES = [
    "a\n{% if true %}\nb\n{% endif %}\nc",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc",
    "a\n  {%+ if true %}\n  b\n  {%+ endif %}\nc",
    "a\n{% if true +%}\nb\n{% endif +%}\nc",
    "a\n {%- if true -%} \n b \n {%- endif -%} \n c",
    "a  {%- if true %} b {% endif -%}  c",
    "a \n {{- 'x' -}} \n b",
    "a \n {{ 'x' }} \n b",
    "{{ 'x' }}\n{{ 'y' }}\n",
    "trailing newline\n",
    "trailing newlines\n\n",
    "\n\nleading",
    "{% if true %}x{% endif %}\n",
    "{{ 'x' }}\r\n{{ 'y' }}\r\n",
    "{% if true %}\r\na\r\n{% endif %}\r\nb\r\n",
    "a\r\n  {%- if true %}\r\n  b\r\n  {%- endif %}\r\nc",
    "a\rb\r{% if true %}\rc{% endif %}",
    "\t{% if true %}\n\tx\n\t{% endif %}\n\ty",
    "a {% if true %} b {% endif %} c",
    "x\n  {# comment #}\ny\n  {#- comment -#}\nz",
    "x {# comment #}\ny",
    "{#\n  several\n  lines\n#}\nx",
    "{% set x = 1 %}\n{% set y = 2 %}\n{{ x + y }}\n",
    "{% for i in [1, 2] %}\n  {{ i }}\n{% endfor %}\nend",
    "{%- for i in [1, 2] -%}\n  {{ i }}\n{%- endfor -%}\nend",
    "{% for i in [1, 2] %}{{ i }}\n\n{% endfor %}end",
    "  {% raw %}\n  {{ x }}\n  {% endraw %}\ny",
    "{%- raw -%}  a  {%- endraw -%}  b",
    "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{% macro f() %}\n  a\n{% endmacro %}\n[{{ f() }}]",
    "{% macro f() -%}\n  a\n{%- endmacro %}\n[{{ f() }}]",
    "{% generation %}\na\n{% endgeneration %}\nb",
    "  {% generation %}\n  a\n  {%- endgeneration %}\n  b",
    "{{ 'a\nb' }}",
    "{{ 'a\r\nb' | length }}|{{ 'a\\r\\nb' | length }}",
    "{{ 'a\\\nb' }}",
    "{{\n  'x'\n  ~\n  'y'\n}}",
    "{% if true and\n   true %}\nx\n{% endif %}",
    "a\u00a0{%- if true %}\u00a0b\u00a0{% endif -%}\u00a0c",
    "a\n\u00a0{% if true %}\nb{% endif %}",
    "\ufeffa{{ 'b' }}",
    "{{ 'one\ntwo\n\nthree' | indent }}",
    "{{ 'one\ntwo\n\nthree' | indent(2, true) }}",
    "{{ 'one\ntwo\n\nthree' | indent(2, first=true, blank=true) }}",
    "{{ 'one\ntwo' | indent(width='> ') }}",
    "{{ 'one\ntwo\n' | indent(1) }}|",
    "{% if false %}\nx\n{% elif true %}\ny\n{% else %}\nz\n{% endif %}\n",
    "{%if true%}x{%endif%}{{1}}{%-if true-%}y{%-endif-%}",
    "a\n\n\n{%- if true %}\n\n\nb{% endif %}",
    "a\x0b{%- if true %}\x0c b{% endif %}\x85c\u2028d",
    "a { b } {c} {\n{ % x % }",
    "emoji 🐈 {{ '🐈' }} \\n \\u00e9 {{ '\\u00e9' }}",
]

# Rendered with the conversation named.
PARTS = [
    ("{{ messages[0]['content'] is string }}|{{ messages[0].content is iterable }}|{{ messages[0].content is sequence }}", "image.parts"),
    ("{{ messages[0]['content'] }}", "image.parts"),
    ("{{ messages[0]['content'] }}", "special.parts"),
    ("{{ messages[0]['content'] | tojson }}", "special.parts"),
    ("{{ messages[0]['content'][0]['text'] }}|{{ messages[0]['content'][1]['text'] }}", "image.parts"),
    ("{{ messages[0]['content'] + 'x' }}", "image.parts"),
    ("{{ 'x' + messages[0]['content'] }}", "image.parts"),
    ("{{ messages[0]['content'] | trim }}", "image.parts"),
    ("{{ messages[0]['content'].strip() }}", "image.parts"),
    ("{{ messages[0]['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('\\n') }}", "two.parts"),
    ("{% for c in messages[0].content | selectattr('type', 'equalto', 'image') %}{{ image_token }}{{ loop.index }}{% endfor %}", "two.parts"),
    ("{% set n = namespace(i=0) %}{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' or 'image' in c or 'image_url' in c %}{% set n.i = n.i + 1 %}Picture {{ n.i }}: {% elif 'text' in c %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}", "two.parts"),
    ("{% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %};{% endfor %}", "turns.parts"),
    ("{{ messages[0].content }}", "special.text"),
    ("{{ messages[0].content | tojson }}", "special.text"),
    ("{{ messages[0].content | e }}", "special.text"),
    ("{{ messages[0].content | trim }}|{{ messages[0].content.rstrip() | length }}|{{ messages[0].content | length }}", "special.text"),
    ("{{ messages[0] }}", "special.text"),
    ("{{ messages[0].content.splitlines() }}", "special.text"),
    ("{% if '</think>' in messages[0].content %}{{ messages[0].content.split('</think>')[-1].lstrip('\\n') }}{% endif %}", "markers.text"),
    ("{{ messages[0].content.split('</think>')[0].rstrip('\\n').split('[INST]')[-1].lstrip('\\n') }}", "markers.text"),
]


def idioms():
    """One source for each idiom of `LINES`, so that one that fails hides no other."""
    for line in LINES.split("\n"):
        if line.startswith("{{") and line.endswith("}}") and "{%" not in line:
            first, *rest = line.split("}}|{{")
            for k, piece in enumerate([first, *rest]):
                yield ("{{" if k else "") + piece + ("}}" if k < len(rest) else "")
        elif line and not line.startswith("# "):
            yield line


def render(source, conversation):
    """The text, or None and the error."""
    try:
        [text], _ = render_jinja_template(
            [CONVERSATIONS[conversation]],
            chat_template=source,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **TOKENS,
        )
        return text, None
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def takes(source, form):
    """Whether a template reads content of this form: it neither fails, nor prints the list, nor drops the words."""
    text, _ = render(source, "image." + form)
    return text is not None and "{'type'" not in text and '{"type"' not in text and TURNS["image"][0][2] in text


def case(template, source, conversation):
    text, error = render(source, conversation)
    result = {"template": template}
    if template is None:
        result["source"] = source
    result["conversation"] = conversation
    if error is None:
        result["expected"] = text
    else:
        result["error"] = error
    return result


def main():
    cases = []
    for path in sorted(Path(".").glob("*.jinja")):
        # Not read_text: it would turn \r\n into \n.
        source = path.read_bytes().decode()
        forms = [form for form in ("parts", "text") if takes(source, form)]
        assert forms, path
        # A template that says what to do with a string gets both, any other the richer form it takes.
        if "content'] is string" not in source and "content is string" not in source:
            forms = forms[:1]
        cases += [case(path.name, source, f"{name}.{form}") for form in forms for name in TURNS]
    for source in [*idioms(), *SPACES]:
        cases.append(case(None, source, "turns.text"))
    for source, conversation in PARTS:
        cases.append(case(None, source, conversation))
    expected = {
        "transformers": transformers.__version__,
        "tokens": TOKENS,
        "conversations": CONVERSATIONS,
        "cases": cases,
    }
    with open("expected.json", "w", encoding="utf-8", newline="\n") as file:
        json.dump(expected, file, indent=1, ensure_ascii=False)
        file.write("\n")
    failing = sum("error" in c for c in cases)
    print(f"{len(cases)} cases, {failing} of them errors")


if __name__ == "__main__":
    main()
