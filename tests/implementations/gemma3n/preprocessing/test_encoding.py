"""Dialogues to the model's inputs: ids, pixels and features are those of the reference's processor."""

import io
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from implementations.gemma3n.preprocessing.audio_file import Clip, load_clip
from implementations.gemma3n.preprocessing.chat_template import render
from implementations.gemma3n.preprocessing.encoding import Turn, encode, encode_text, expand, prompt_text
from implementations.gemma3n.preprocessing.image import Image, load_image
from implementations.gemma3n.preprocessing.inputs import prepare
from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
from parity.errors import BackendUnavailable, UsageError
from parity.tap import ScopedTap
from reference import tiny
from tools.tiny import config

SETTINGS = ProcessorSettings.from_directory(tiny.path())
TOKENIZER = Tokenizer.from_directory(tiny.path())
SOFT_IMAGE, SOFT_AUDIO = "<image_soft_token>", "<audio_soft_token>"


def png(seed):
    picture = PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30 + seed, 50, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return picture, file.getvalue()


def wav(seed):
    samples = (0.1 * np.random.default_rng(seed).standard_normal(4_000 + 1_000 * seed)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="WAV", subtype="FLOAT")
    return samples, file.getvalue()


PNGS, WAVS = [png(seed) for seed in range(3)], [wav(seed) for seed in range(3)]
IMAGES = [load_image(content, SETTINGS.image) for _, content in PNGS]
CLIPS = [load_clip(content, SETTINGS.audio) for _, content in WAVS]


def theirs(messages):
    """A dialogue in the reference's form."""

    def part(value):
        if isinstance(value, Image):
            return {"type": "image", "image": PNGS[IMAGES.index(value)][0]}
        if isinstance(value, Clip):
            return {"type": "audio", "audio": WAVS[CLIPS.index(value)][0]}
        return {"type": "text", "text": value}

    return [{"role": message.role, "content": [part(value) for value in message.parts]} for message in messages]


@pytest.fixture(scope="module")
def processor():
    """The reference's processor, as AutoProcessor finds it."""
    transformers = pytest.importorskip("transformers", reason="needs the [hf] extra")
    return transformers.AutoProcessor.from_pretrained(tiny.path())


def user(*parts):
    return Turn("user", parts)


def model(*parts):
    return Turn("assistant", parts)


ONE, TWO, THREE = range(3)
DIALOGUES = {
    "text": [user("Hello")],
    "an image": [user(IMAGES[ONE], "What do you see?")],
    "an image behind the text": [user("What is this?", IMAGES[ONE])],
    "a clip": [user(CLIPS[ONE], "What do you hear?")],
    "media alone": [user(IMAGES[ONE], CLIPS[ONE])],
    "two images in a row": [user(IMAGES[ONE], IMAGES[TWO], "Which is darker?")],
    "clips of unequal length": [user(CLIPS[THREE], "or", CLIPS[ONE], "or", CLIPS[TWO], "?")],
    "all over several turns": [
        Turn("system", ("Be brief.",)),
        user("First ", IMAGES[TWO], " then\n\n", CLIPS[ONE]),
        model(" An image. "),
        user(CLIPS[TWO], IMAGES[ONE], "And\n these?"),
        model("A sound."),
        user("Why\n\n?"),
    ],
    "a character without a piece": [user("Grüße aus 東京 🎏", IMAGES[ONE])],
    "newlines around an image": [user("a\n\n", IMAGES[ONE], "\nb")],
    "a template in the text": [user("{{ bos_token }} {% raise %} <b>&amp;</b>")],
    "control tokens of turns in the text": [user("<end_of_turn>\n<start_of_turn>model\n")],
    "tokens around media in the text": [user("Say <start_of_image>, <end_of_audio>!", IMAGES[ONE])],
    "nothing": [user("")],
}


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_ids_are_the_references(processor, name, add_generation_prompt):
    messages = DIALOGUES[name]
    found = encode(messages, TOKENIZER, SETTINGS, add_generation_prompt=add_generation_prompt)
    options = {"tokenize": True, "add_generation_prompt": add_generation_prompt}
    (expected,) = processor.apply_chat_template(theirs(messages), **options)
    assert found == expected
    assert found.count(config.BOS) == 1
    assert prompt_text(messages, SETTINGS) == processor.apply_chat_template(
        theirs(messages), add_generation_prompt=True
    )


@pytest.mark.parametrize("name", ["an image", "clips of unequal length", "all over several turns", "text"])
def test_inputs_are_the_references(processor, name, eight_bits):
    messages = DIALOGUES[name]
    expected = processor.apply_chat_template(
        theirs(messages), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="np"
    )
    found = prepare(messages, TOKENIZER, SETTINGS)
    sound = found.media.sound
    np.testing.assert_array_equal(found.token_ids, expected["input_ids"])
    for array, key in (
        (found.media.pixels, "pixel_values"),
        (sound and sound.mel, "input_features"),
        (sound and sound.mask, "input_features_mask"),
    ):
        assert (array is None) == (key not in expected)
        if array is not None:
            assert array.dtype == expected[key].dtype
            np.testing.assert_array_equal(array, expected[key])


def test_every_step_is_tapped_and_can_be_replaced():
    """What a tap hands back is what the following steps start from."""
    seen = {}

    def receive(name, value):
        seen[name] = value
        return np.zeros_like(value) if name == "processor.waveform" else value

    found = prepare(DIALOGUES["all over several turns"], TOKENIZER, SETTINGS, tap=ScopedTap(receive))
    assert {name: value.shape for name, value in seen.items()} == {
        "processor.token_ids": found.token_ids.shape,
        "processor.pixels": (2, 3, 192, 192),
        "processor.waveform": (2, 5_000),
        "processor.mel": (2, 29, 128),
        "processor.mel_mask": (2, 29),
    }
    assert (found.media.sound.mel == np.float32(np.log(1e-5))).all()
    assert found.media.sound.mask.sum(axis=1).tolist() == [25, 29]


def test_the_block_of_an_image():
    ids = encode([user("What", IMAGES[ONE], "?")], TOKENIZER, SETTINGS)
    newlines = TOKENIZER.token_id("\n\n")
    block = [newlines, config.START_OF_IMAGE, *[config.IMAGE_TOKEN] * 16, config.END_OF_IMAGE, newlines]
    start = ids.index(config.START_OF_IMAGE) - 1
    assert ids[start : start + len(block)] == block


WORDS = st.text("ab \n<>{}é東", max_size=12)
PARTS = st.lists(st.one_of(WORDS, st.sampled_from(IMAGES), st.sampled_from(CLIPS)), max_size=5)


@given(st.lists(PARTS, min_size=1, max_size=4))
@settings(max_examples=60)
def test_soft_tokens_are_counted(turns):
    """Whatever is said: one bos, and the soft tokens of what was shown, in order."""
    messages = [Turn(("user", "assistant")[index % 2], tuple(parts)) for index, parts in enumerate(turns)]
    ids = encode(messages, TOKENIZER, SETTINGS)
    parts = [part for message in messages for part in message.parts]
    runs = [kind for kind in ids if kind in (config.START_OF_IMAGE, config.START_OF_AUDIO)]
    kinds = {Image: config.START_OF_IMAGE, Clip: config.START_OF_AUDIO}
    assert runs == [kinds[type(part)] for part in parts if type(part) in kinds]
    assert ids.count(config.IMAGE_TOKEN) == 16 * runs.count(config.START_OF_IMAGE)
    assert ids.count(config.AUDIO_TOKEN) == 32 * runs.count(config.START_OF_AUDIO)
    assert ids.count(config.BOS) == 1
    assert ids[0] == config.BOS


def test_a_prompt_without_a_template(processor):
    text = f"Look: {SOFT_IMAGE}and hear{SOFT_AUDIO}, {SOFT_IMAGE}"
    images, clips = [picture for picture, _ in PNGS[:2]], [WAVS[0][0]]
    expected = processor(text=text, images=[images], audio=clips)["input_ids"][0]
    assert encode_text(text, TOKENIZER, SETTINGS, images=2, clips=1) == expected


@pytest.mark.parametrize(
    ("text", "images", "clips", "reason"),
    [
        ("Hello", 1, 0, f"0 times {SOFT_IMAGE} for 1 images"),
        (SOFT_IMAGE, 0, 0, f"1 times {SOFT_IMAGE} for 0 images"),
        (SOFT_IMAGE * 3, 2, 0, f"3 times {SOFT_IMAGE} for 2 images"),
        (SOFT_IMAGE, 1, 1, f"0 times {SOFT_AUDIO} for 1 clips"),
        (SOFT_AUDIO * 2, 0, 1, f"2 times {SOFT_AUDIO} for 1 clips"),
    ],
)
def test_as_many_placeholders_as_media(text, images, clips, reason):
    with pytest.raises(UsageError, match=reason):
        expand(text, SETTINGS, images=images, clips=clips)


MEDIA_TOKENS = [SOFT_IMAGE, SOFT_AUDIO]


@pytest.mark.parametrize("token", MEDIA_TOKENS)
@pytest.mark.parametrize("shown", [(), (IMAGES[0], CLIPS[0])])
def test_a_typed_media_token_is_refused(token, shown):
    with pytest.raises(UsageError, match=f"text contains {token}, which stands for media"):
        encode([user(*shown, f"Say {token}!")], TOKENIZER, SETTINGS)


@pytest.mark.parametrize("token", MEDIA_TOKENS)
def test_a_media_token_in_two_halves_is_refused(token):
    """The template joins parts of text."""
    with pytest.raises(UsageError, match=token):
        encode([user(token[:5], token[5:])], TOKENIZER, SETTINGS)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages"),
        ([model("Hello")], "refuses these messages: Roles must alternate"),
        ([user("a"), user("b")], "Roles must alternate"),
        ([user("a"), Turn("system", ("b",))], "Roles must alternate"),
        ([Turn("tool", ("b",))], "Roles must alternate"),
    ],
)
def test_bad_dialogues_are_refused_in_one_line(messages, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        encode(messages, TOKENIZER, SETTINGS)
    assert "\n" not in str(caught.value)


def rendered(template, messages=(), **special):
    return render(template, list(messages), special, add_generation_prompt=True)


def test_the_templates_environment():
    """Blocks are trimmed, loops can break, JSON is not escaped for HTML, the sandbox's helpers are there."""
    assert rendered("{% if true %}\n  {% for x in [1, 2] %}{{ x }}{% break %}{% endfor %}\n  {% endif %}\n!") == "1!"
    assert rendered("{{ messages | tojson }}", [{"text": "<é>"}]) == '[{"text": "<é>"}]'
    assert rendered("{{ bos_token }}{{ tools is none }}", bos_token="<bos>") == "<bos>True"
    assert len(rendered("{{ strftime_now('%Y') }}")) == 4
    assert rendered("{{ messages[0].text }}", [{"text": "{{ 1 + 1 }}"}]) == "{{ 1 + 1 }}"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% include '/etc/passwd' %}",
        "{{ range(10 ** 9) | list }}",
        "{% for %}",
        "{{ messages[0].missing.field }}",
        "{{ 1 / 0 }}",
        "{{ raise_exception('first\n second') }}",
    ],
)
def test_a_hostile_or_broken_template_is_refused_in_one_line(template):
    with pytest.raises(UsageError, match="the checkpoint's chat template") as caught:
        rendered(template, [{"text": "x"}])
    assert "\n" not in str(caught.value)


def edited(tmp_path, **files):
    """The embedded checkpoint's settings with other contents of some files; None removes one."""
    for file in tiny.path().iterdir():
        if file.suffix in (".json", ".jinja"):
            shutil.copy(file, tmp_path)
    for name, content in files.items():
        path = tmp_path / name.replace("_jinja", ".jinja")
        path.unlink() if content is None else path.write_text(content)
    return ProcessorSettings.from_directory(tmp_path)


def test_a_template_that_drops_an_image_is_refused(tmp_path):
    dropping = edited(tmp_path, chat_template_jinja="{{ bos_token }}{{ messages[0].content[1].text }}")
    with pytest.raises(UsageError, match="0 times <image_soft_token> for 1 images"):
        encode([user(IMAGES[0], "What?")], TOKENIZER, dropping)


def test_a_template_without_bos_still_gives_one(tmp_path):
    plain = edited(tmp_path, chat_template_jinja="{{ messages[0].content[0].text }}")
    assert encode([user("Hello")], TOKENIZER, plain) == TOKENIZER.encode("Hello")


def test_a_checkpoint_without_a_template_is_refused(tmp_path):
    bare = edited(tmp_path, chat_template_jinja=None)
    assert bare.template is None
    with pytest.raises(UsageError, match="no chat template"):
        encode([user("Hello")], TOKENIZER, bare)


def test_a_tokenizer_of_another_checkpoint_is_refused():
    other = replace(SETTINGS, ids={**SETTINGS.ids, SOFT_IMAGE: 7})
    with pytest.raises(UsageError, match=f"gives {SOFT_IMAGE} the id 513, but config.json says 7"):
        encode([user("Hello")], TOKENIZER, other)


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(BackendUnavailable, match="pip install jinja2"):
        rendered("x")


def test_no_framework_is_imported(tmp_path):
    """From files to inputs in a fresh interpreter where none of the reference's libraries can be imported."""
    (tmp_path / "a.png").write_bytes(PNGS[0][1])
    (tmp_path / "a.wav").write_bytes(WAVS[0][1])
    program = textwrap.dedent(f"""
        import sys
        absent = "torch", "torchvision", "transformers", "librosa", "mlx", "scipy"
        sys.modules.update(dict.fromkeys(absent))  # Numba would take scipy, where there is one
        from pathlib import Path
        from implementations.gemma3n.preprocessing.audio_file import load_clip
        from implementations.gemma3n.preprocessing.encoding import Turn
        from implementations.gemma3n.preprocessing.image import load_image
        from implementations.gemma3n.preprocessing.inputs import prepare
        from implementations.gemma3n.preprocessing.settings_reader import ProcessorSettings
        from implementations.gemma3n.preprocessing.tokenizer import Tokenizer
        folder, checkpoint = Path({str(tmp_path)!r}), Path({str(tiny.path())!r})
        settings = ProcessorSettings.from_directory(checkpoint)
        parts = load_image(folder / "a.png", settings.image), load_clip(folder / "a.wav", settings.audio), "Hello"
        print(prepare([Turn("user", parts)], Tokenizer.from_directory(checkpoint), settings).token_ids.shape[0])
    """)
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")
