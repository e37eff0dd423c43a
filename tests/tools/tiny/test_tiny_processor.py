"""The embedded checkpoint's processor: text, image and audio through the reference's real preprocessing."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from reference import tiny
from tools.tiny import config

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The reference's library."""
    return pytest.importorskip("transformers", reason="needs the [hf] extra")


@pytest.fixture(scope="module")
def processor(transformers: Any) -> Any:
    """The processor as AutoProcessor finds it."""
    return transformers.AutoProcessor.from_pretrained(tiny.path())


@pytest.fixture(scope="module")
def image() -> Array:
    """An RGB image [100, 140, 3], of neither the tower's size nor its shape."""
    return np.random.default_rng(1).integers(0, 256, (100, 140, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def audio() -> Array:
    """1.5 s of a rising tone in noise at 16 kHz, [24000]."""
    seconds = np.arange(24000) / 16000
    noise = 0.05 * np.random.default_rng(2).standard_normal(seconds.size)
    return (0.3 * np.sin(2 * np.pi * 440 * seconds * (1 + seconds)) + noise).astype(np.float32)


def conversation(*kinds: str, text: str = "What do you see?") -> list[dict[str, Any]]:
    """One user turn with parts of the given kinds before its text."""
    parts = [{"type": kind} for kind in kinds]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def test_chat_template(processor: Any) -> None:
    """A dialogue takes Gemma's form: system text inside the first user turn, assistant turns named model."""
    messages = [
        {"role": "system", "content": "Be brief."},
        *conversation("image", "audio"),
        {"role": "assistant", "content": [{"type": "text", "text": " A tone. "}]},
        {"role": "user", "content": "Why?"},
    ]
    assert processor.apply_chat_template(messages, add_generation_prompt=True) == (
        "<bos><start_of_turn>user\nBe brief.\n\n<image_soft_token><audio_soft_token>What do you see?<end_of_turn>\n"
        "<start_of_turn>model\nA tone.<end_of_turn>\n<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("roles", [["assistant"], ["user", "user"], ["user", "system"]])
def test_chat_template_refuses_wrong_turns(processor: Any, roles: list[str]) -> None:
    """Turns that do not alternate are an error, not a silent prompt."""
    messages = [{"role": role, "content": "x"} for role in roles]
    with pytest.raises(Exception, match="must alternate"):
        processor.apply_chat_template(messages)


def test_placeholders(processor: Any, image: Array, audio: Array) -> None:
    """An image becomes 16 soft tokens and audio 32, between their begin and end tokens."""
    inputs = processor(text="<image_soft_token>What<audio_soft_token>", images=[image], audio=[audio])
    ids = inputs["input_ids"][0]
    newlines = processor.tokenizer.convert_tokens_to_ids("\n\n")
    before = [newlines, config.START_OF_IMAGE, *[config.IMAGE_TOKEN] * 16, config.END_OF_IMAGE, newlines]
    after = [newlines, config.START_OF_AUDIO, *[config.AUDIO_TOKEN] * 32, config.END_OF_AUDIO, newlines]
    assert ids == [config.BOS, *before, processor.tokenizer.convert_tokens_to_ids("What"), *after]


def test_pixels_and_features(processor: Any, image: Array, audio: Array) -> None:
    """Pixels are [1, 3, 192, 192] in [0, 1]; audio is 128 mel bins of 10 ms frames."""
    inputs = processor(text="<image_soft_token><audio_soft_token>", images=[image], audio=[audio], return_tensors="np")
    assert inputs["pixel_values"].shape == (1, 3, config.IMAGE_SIZE, config.IMAGE_SIZE)
    assert 0 <= inputs["pixel_values"].min() < 0.1
    assert 0.9 < inputs["pixel_values"].max() <= 1
    assert inputs["input_features"].shape == (1, 148, 128)
    assert inputs["input_features_mask"].shape == (1, 148)


def test_full_forward(transformers: Any, processor: Any, image: Array, audio: Array) -> None:
    """A chat prompt with an image and audio runs through the whole model, to finite logits."""
    torch = pytest.importorskip("torch", reason="needs the [hf] extra")
    prompt = processor.apply_chat_template(conversation("image", "audio"), add_generation_prompt=True)
    inputs = processor(text=prompt, images=[image], audio=[audio], add_special_tokens=False, return_tensors="pt")
    model = transformers.Gemma3nForConditionalGeneration.from_pretrained(tiny.path(), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape == (*inputs["input_ids"].shape, config.VOCAB)
    assert bool(logits.isfinite().all())
    assert int((inputs["input_ids"] == config.BOS).sum()) == 1
