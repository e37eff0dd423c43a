"""The tokenizer of the embedded checkpoint: byte-pair encoding with byte fallback, in Gemma's form.

Spaces become U+2581 before anything else and come back after; a character without a piece becomes its UTF-8 bytes.
The order of `PIECES` is the priority of merges: a SentencePiece model with score `-id` splits text in the same way.
"""

from typing import Final

from tools.tiny import config
from tools.tiny.config import JsonObject

SPECIAL: Final = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<start_of_audio>",
)
BYTES: Final = tuple(f"<0x{value:02X}>" for value in range(256))
# Multi-character pieces, by priority; `merges` gives each its ways to be joined from two others.
WORDS: Final = """
    ▁t he in er an ▁a re on at en or es is it nd ou ar st al le ▁o ll ▁w ed ▁s ing ▁the ▁of ion ▁in ▁b ▁c ▁m ▁p ▁f ▁d
    ▁and ▁to ▁h ▁is ▁it ▁l ▁n ▁g ▁T ▁S ▁A ▁I ▁W ▁H ▁th ▁that ▁on ▁as ▁for ith ▁with ▁be ▁wh ▁he ▁an ▁at ▁or ▁are ▁you
    ▁this ▁st ▁y ▁yo ic ro ent ly ve se ch sh th ow om us as ur et ay ld ce id ir im ad el il ac ol ot ul un am ig ation
    ver ter ment Th The In He Wh What Hell Hello ▁wor ▁world ag age image ▁image ▁au di dio ▁audio ▁what ee ▁see
    ▁layer ▁lay ▁token ▁tok ▁▁ 00 10 20 // .. ▁( ). -- == ▁do ▁not ▁can 's ▁we
"""
PIECES: Final = ("\n\n", *WORDS.split())
CHARACTERS: Final = ("▁", "\n", *(chr(code) for code in range(0x21, 0x7F)), "é", "ü", "ñ", "ß", "°", "€")


def vocabulary() -> list[str]:
    """Return the 768 tokens in the order of their ids: 512 of text, 128 of vision, 128 of audio."""
    text = [*SPECIAL, *BYTES, *PIECES, *CHARACTERS]
    unused = [f"<unused{index}>" for index in range(2 * (config.MODALITY_VOCAB - 2))]
    half = len(unused) // 2
    vision = ["<end_of_image>", "<image_soft_token>", *unused[:half]]
    audio = ["<end_of_audio>", "<audio_soft_token>", *unused[half:]]
    return text + vision + audio


def merges() -> list[tuple[str, str]]:
    """Return every split of every piece into two tokens of the vocabulary, by the priority of the joined piece."""
    known = {*PIECES, *CHARACTERS}
    splits = ((piece[:cut], piece[cut:]) for piece in PIECES for cut in range(1, len(piece)))
    return [(left, right) for left, right in splits if left in known and right in known]


def special_ids() -> list[int]:
    """Return the ids matched in the text before byte-pair encoding, and left out by `skip_special_tokens`."""
    return [*range(len(SPECIAL)), *range(config.TEXT_VOCAB, config.VOCAB)]


def tokenizer() -> JsonObject:
    """Return tokenizer.json, in the format of the `tokenizers` library."""
    tokens = vocabulary()
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(index, tokens[index]) for index in special_ids()],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": post_processor(),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": model(tokens),
    }


def model(tokens: list[str]) -> JsonObject:
    """Return the byte-pair model over the given tokens."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": [list(pair) for pair in merges()],
    }


def added_token(index: int, content: str) -> JsonObject:
    """Return one entry of `added_tokens`: special, matched as it stands."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": index, "content": content, **flags}


def post_processor() -> JsonObject:
    """Return the template that puts <bos> before every sequence, and nothing after."""
    first: list[JsonObject] = [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    second: list[JsonObject] = [
        {"SpecialToken": {"id": "<bos>", "type_id": 1}},
        {"Sequence": {"id": "B", "type_id": 1}},
    ]
    special = {"<bos>": {"id": "<bos>", "ids": [config.BOS], "tokens": ["<bos>"]}}
    return {"type": "TemplateProcessing", "single": first, "pair": first + second, "special_tokens": special}


def special_tokens_map() -> JsonObject:
    """Return special_tokens_map.json: the role of each special token, under the names Gemma 3n's processor asks for."""
    return {
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "mask_token": "<mask>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        **multimodal_tokens(),
    }


def multimodal_tokens() -> JsonObject:
    """Return the attribute names that Gemma3nProcessor reads from its tokenizer."""
    return {
        "audio_token": "<audio_soft_token>",
        "boa_token": "<start_of_audio>",
        "boi_token": "<start_of_image>",
        "eoa_token": "<end_of_audio>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }


def tokenizer_config() -> JsonObject:
    """Return tokenizer_config.json, as AutoTokenizer reads it."""
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": multimodal_tokens(),
        "model_max_length": config.MAX_POSITIONS,
        "padding_side": "left",
        "processor_class": "Gemma3nProcessor",
        "tokenizer_class": "GemmaTokenizer",
        **special_tokens_map(),
    }
