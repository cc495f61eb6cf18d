"""The tokenizer: one token a known word; unknown words fall back to letters."""

import functools
import string

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors

from nouns import COLOURS, EASY_VQA_WORDS, IRREGULAR_PLURALS, NOUNS, NUMBERS, PLACES

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
PAD, BOS, EOS, UNKNOWN, IMAGE = range(5)

PROMPT = "USER: <image>\n{question} ASSISTANT:"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "USER: "
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    " "
    "{% else %}"
    "ASSISTANT: "
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "</s>"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)

_SENTENCE_WORDS = (
    "a an and on background describe the picture how many are there what is in where color "
    "colour which letter or digit sign left right above below of yes no user assistant "
    "does image contain not present shape : ? . , 's it i see you this that to with things "
    "objects object at next do can"
).split()
_GLYPHS = string.ascii_lowercase + string.digits
# A round vocabulary, and room for words to come.
_SIZE_MULTIPLE = 32


@functools.cache
def words() -> tuple[str, ...]:
    """The vocabulary in the order of its ids."""
    known = list(SPECIAL)
    sentences = NOUNS + COLOURS + EASY_VQA_WORDS + PLACES + NUMBERS
    sentences += list(IRREGULAR_PLURALS.values()) + _SENTENCE_WORDS
    for sentence in sentences:
        for word in sentence.split():
            if word not in known:
                known.append(word)
    known += [glyph for glyph in _GLYPHS if glyph not in known]
    known += ["##" + glyph for glyph in _GLYPHS]
    known += [f"<spare_{i}>" for i in range(-len(known) % _SIZE_MULTIPLE)]
    return tuple(known)


@functools.cache
def token_ids() -> dict[str, int]:
    return {word: index for index, word in enumerate(words())}


@functools.cache
def tokenizer() -> Tokenizer:
    """A WordPiece tokenizer; `dogs` is `dog ##s`, and `emu` is `e ##m ##u`."""
    result = Tokenizer(
        models.WordPiece(token_ids(), unk_token="<unk>", max_input_chars_per_word=40)
    )
    result.normalizer = normalizers.Lowercase()
    result.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    result.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    result.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    result.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    return result


@functools.cache
def encode(text: str) -> tuple[int, ...]:
    """Token ids of a text, without `<s>`."""
    return tuple(tokenizer().encode(text, add_special_tokens=False).ids)


def prefix_ids() -> tuple[int, ...]:
    """What comes before the picture."""
    return (BOS, *encode(PROMPT.split("<image>")[0]))


def question_ids(question: str) -> tuple[int, ...]:
    """What comes after the picture, up to the answer."""
    return encode(PROMPT.split("<image>")[1].format(question=question))
