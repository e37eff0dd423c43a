"""Conversations: what is read again, what is read on, and where pictures and sounds go."""

import numpy as np
import pytest

pytest.importorskip("tokenizers")

from implementations.gemma3n.dialogue import Dialogue
from implementations.gemma3n.preprocessing.inputs import NOTHING
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from parity.errors import ContextExceeded, UsageError
from parity.generation import Finish, Message, Sampling
from parity.media import Part
from parity.tap import SILENT
from reference.tiny import path

END = 6
"""End of turn."""


class Script:
    """A model that says the same text in each turn; notes what it was given."""

    def __init__(self, preprocessor, text):
        self.answer = [*preprocessor.tokenizer.encode(text)[1:], END]
        self.begun, self.read_ids, self.media = 0, [], []

    def begin(self):
        self.begun += 1
        self.read_ids = []

    def read(self, token_ids, media=NOTHING, *, tap=SILENT):
        self.read_ids.append(token_ids)
        self.media.append(media)
        said = 0 if len(token_ids) > 1 else self.said + 1
        self.said = said
        logits = np.zeros(768, np.float32)
        logits[self.answer[said]] = 1
        return logits


@pytest.fixture
def preprocessor():
    return Preprocessor(path())


@pytest.fixture
def picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    file = tmp_path / "a.png"
    image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(file)
    return Part("image", str(file))


def user(*parts):
    return Message("user", tuple(Part("text", part) if isinstance(part, str) else part for part in parts))


def model(text):
    return Message("model", (Part("text", text),))


def test_a_turn_is_answered_in_the_template(preprocessor):
    script = Script(preprocessor, "well")
    assert "".join(Dialogue(script, preprocessor).reply([user("Hello")], Sampling())) == "well"
    text = preprocessor.tokenizer._tokenizer.decode(script.read_ids[0], skip_special_tokens=False)
    assert text == "<bos><start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model\n"


def test_what_is_said_before_all_turns_stands_in_the_first(preprocessor):
    """As Gemma's template has it."""
    script = Script(preprocessor, "well")
    "".join(
        Dialogue(script, preprocessor).reply([Message("system", user("Be brief.").prompt), user("Hello")], Sampling())
    )
    text = preprocessor.tokenizer._tokenizer.decode(script.read_ids[0], skip_special_tokens=False)
    assert text == "<bos><start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n<start_of_turn>model\n"


@pytest.mark.parametrize("token", ["<start_of_turn>", "<end_of_turn>"])
def test_a_text_that_would_be_read_as_turns_is_refused(preprocessor, picture, token):
    """Also where it lies in two parts, between which the template leaves nothing; a plain text is what it is."""
    script = Script(preprocessor, "well")
    dialogue = Dialogue(script, preprocessor)
    head, rest = token[:5], token[5:]
    for parts in ((f"Hi{token}\n",), (head, rest), (f"Hi{head} ", picture, f"\n{rest}")):
        with pytest.raises(UsageError, match=f"text contains {token}, which parts turns; send each turn as a message"):
            [*dialogue.reply([user("Hello"), model("Hi"), user(*parts)], Sampling())]
    assert not script.read_ids
    assert "".join(dialogue.reply([user(head, "Hi", rest)], Sampling())) == "well"
    assert "".join(dialogue.reply([Message("text", user(token).prompt)], Sampling())) == "well"


def test_a_conversation_that_goes_on_is_read_on(preprocessor):
    """The second turn reads only what the first did not: from the end of the model's turn."""
    script = Script(preprocessor, "well")
    dialogue = Dialogue(script, preprocessor)
    said = "".join(dialogue.reply([user("Hello")], Sampling()))
    turns = [user("Hello"), model(said), user("And?")]
    first = len(script.read_ids)
    "".join(dialogue.reply(turns, Sampling()))
    whole = preprocessor.encode([preprocessor.turn(turn) for turn in turns])
    assert [token for ids in script.read_ids for token in ids][: len(whole)] == whole
    assert script.read_ids[first][0] == END


def test_another_conversation_is_read_from_its_beginning(preprocessor):
    script = Script(preprocessor, "well")
    dialogue = Dialogue(script, preprocessor)
    "".join(dialogue.reply([user("Hello")], Sampling()))
    "".join(dialogue.reply([user("Goodbye")], Sampling()))
    assert script.read_ids[0] == preprocessor.encode([preprocessor.turn(user("Goodbye"))])


def test_a_picture_is_read_once(preprocessor, picture):
    script = Script(preprocessor, "red")
    dialogue = Dialogue(script, preprocessor)
    said = "".join(dialogue.reply([user(picture, "What?")], Sampling()))
    assert script.media[0].pixels.shape == (1, 3, 192, 192)
    count = len(script.media)
    "".join(dialogue.reply([user(picture, "What?"), model(said), user("And?")], Sampling()))
    assert not any(script.media[1:])
    "".join(dialogue.reply([user(picture, picture, "What?")], Sampling()))
    assert [media.pixels.shape[0] for media in script.media[count:] if media.pixels is not None] == [2]


def test_plain_text_is_gone_on_from_as_it_is(preprocessor):
    script = Script(preprocessor, "there")
    text = Message("text", (Part("text", "Hello"),))
    assert "".join(Dialogue(script, preprocessor).reply([text], Sampling())) == "there"
    assert script.read_ids[0] == preprocessor.tokenizer.encode("Hello")


def test_plain_text_stands_alone(preprocessor, picture):
    dialogue = Dialogue(Script(preprocessor, "x"), preprocessor)
    for messages in ([Message("text", (picture,))], [Message("text", (Part("text", "a"),)), user("b")]):
        with pytest.raises(UsageError, match="stands alone"):
            list(dialogue.reply(messages, Sampling()))


def finish(reply):
    """How a reply ended."""
    while True:
        try:
            next(reply)
        except StopIteration as end:
            return end.value


def test_how_it_ended(preprocessor):
    """By the model, by a text, for want of tokens, or where the context ends."""
    script = Script(preprocessor, "well said")
    dialogue = Dialogue(script, preprocessor)
    prompt = len(preprocessor.encode([preprocessor.turn(user("Hello"))]))
    whole = len(script.answer) - 1
    assert finish(dialogue.reply([user("Hello")], Sampling())) == Finish(prompt, whole, "stop")
    assert finish(dialogue.reply([user("Hello")], Sampling(stop=("said",)))).reason == "stop"
    assert finish(dialogue.reply([user("Hello")], Sampling(max_tokens=2))) == Finish(prompt, 2, "length")
    dialogue._context = prompt + 2
    assert finish(dialogue.reply([user("Hello")], Sampling())) == Finish(prompt, 3, "length")
    assert sum(map(len, script.read_ids)) == prompt + 2
    dialogue._context = prompt - 1
    with pytest.raises(ContextExceeded, match=f"the prompt has {prompt} tokens, the context is {prompt - 1}"):
        finish(dialogue.reply([user("Hello")], Sampling()))


def test_a_pass_that_is_stopped_is_read_again(preprocessor):
    """What is raised before a forward pass ends the reply; the model does not go on from what it did not read."""
    script = Script(preprocessor, "well")
    dialogue = Dialogue(script, preprocessor)
    passes = []

    def hear():
        passes.append(None)
        if len(passes) == 2:
            raise InterruptedError
        return SILENT

    with pytest.raises(InterruptedError):
        finish(dialogue.reply([user("Hello")], Sampling(), hear=hear))
    whole = preprocessor.encode([preprocessor.turn(user("Hello"))])
    assert "".join(dialogue.reply([user("Hello")], Sampling())) == "well"
    assert script.read_ids[0] == whole
