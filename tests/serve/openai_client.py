"""Asks a running server through OpenAI's own client: openai_client.py BASE_URL PICTURE."""

import base64
import sys

import openai

base_url, picture = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="secret", max_retries=0)
uri = "data:image/png;base64," + base64.b64encode(open(picture, "rb").read()).decode()
messages = [
    {"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": uri}},
        {"type": "text", "text": "describe the picture."},
    ]}
]
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model

whole = client.chat.completions.create(model=model, messages=messages, extra_body={"mustdrop": {"keep": 64}})
text = whole.choices[0].message.content
assert text and whole.choices[0].finish_reason == "stop", whole
assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
assert whole.usage.model_extra["image_tokens"] == 576 and whole.usage.model_extra["image_tokens_kept"] == 64
assert len(whole.model_extra["mustdrop"]["pruning"]["pictures"]) == 1

chunks = list(client.chat.completions.create(
    model=model, messages=messages, stream=True, stream_options={"include_usage": True},
    extra_body={"mustdrop": {"keep": 64}},
))
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
assert chunks[-1].usage == whole.usage

for error, arguments in [
    (openai.NotFoundError, {"model": "gpt-4o"}),
    (openai.BadRequestError, {"n": 2}),
    (openai.BadRequestError, {"extra_body": {"mustdrop": {"keep": 0}}}),
]:
    try:
        client.chat.completions.create(**{"model": model, "messages": messages, **arguments})
    except error as refusal:
        assert refusal.body["message"], refusal
    else:
        raise AssertionError(f"{arguments} was not refused")
try:
    client.with_options(api_key="another").models.list()
except openai.AuthenticationError:
    pass
else:
    raise AssertionError("another token was accepted")
print(f"openai {openai.__version__}: {text}")
