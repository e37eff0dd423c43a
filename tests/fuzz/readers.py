"""Who reads what is fuzzed, as far as a command line takes too long to say it, or would start a backend."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
from functools import cache
from pathlib import Path

from implementations.gemma3n.config import Config
from implementations.gemma3n.preprocessing.audio_file import load_clip
from implementations.gemma3n.preprocessing.image import load_image
from implementations.gemma3n.preprocessing.preprocessor import Preprocessor
from implementations.gemma3n.preprocessing.tokenizer import Tokenizer, stop_ids
from parity.calibration.misses import read_misses
from parity.checkpoint import find_checkpoint
from parity.contract import Contract
from parity.errors import BackendUnavailable, ExitCode, UsageError
from parity.generation import Message
from parity.golden.format import read_golden
from parity.golden.packing import records, stored_floors
from parity.golden.store import Store
from parity.golden.whole import require_undamaged
from parity.media import Part
from parity.weights.stored import stored
from reference.gemma3n import PUBLISHED
from reference.gemma3n.admission import admit
from tests.bad_input.test_spoilt_media import AUDIO, IMAGE

MODEL = Path("model")


def configuration() -> None:
    """What is read of a checkpoint before any weight."""
    find_checkpoint("model")
    admit(MODEL, "Hi", (Part("image", "x"),))
    Config.from_directory(MODEL)
    settings()


def settings() -> None:
    """What is read of it before anything is said."""
    assert Preprocessor(MODEL).settings
    stop_ids(MODEL)


def words() -> None:
    """A text becomes tokens, and these a text again."""
    made = Preprocessor(MODEL)
    Tokenizer.from_directory(MODEL).decode(made.encode([made.turn(Message("user", (Part("text", "Hi, é😀"),)))]))


def weights() -> None:
    """Every tensor of a checkpoint."""
    find_checkpoint("model")
    for tensor in stored(MODEL, PUBLISHED).values():
        assert tensor.read().shape == tensor.shape


@cache
def _contract(text: str) -> Contract:
    return Contract.from_json(json.loads(text))


def golden() -> None:
    """What is read of a golden before a candidate runs."""
    store = Store(Path("goldens"))
    contract = _contract((store.folder / "contract.json").read_text())
    found = read_golden(store.folder / "one-shot")
    require_undamaged(found, contract, "one-shot")
    records(found, contract)
    for dtype in found.manifest.dtypes:
        stored_floors(found, contract, dtype)


def scores() -> None:
    """Of known bugs, which a calibration reads."""
    assert all(0 <= misses.missed(4.0) <= 1 for misses in read_misses([Path("scores.json")]))


def gguf() -> None:
    """A file's header, as files are held against each other."""
    from implementations.gguf.differences import differences

    differences(Path("file"), Path("file"))


def package() -> None:
    """What a folder of Core ML packages says of itself."""
    from implementations.coreml.package.folder import Package

    assert Package.read(MODEL).steps


def llama() -> None:
    """A file's header, as llama.cpp reads it in a process of its own, for it may end that."""
    told, tell = os.pipe()
    if not (child := os.fork()):
        os._exit(_loaded(tell))
    os.close(tell)
    with os.fdopen(told) as said:
        complaint = said.read()
    if (code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])) < 0:
        raise BackendUnavailable(f"llama.cpp ended its process: {signal.Signals(-code).name}")
    if code:
        raise UsageError(complaint)


def _loaded(tell: int) -> int:
    from implementations.gguf.engine.library import library
    from implementations.gguf.vision.tower import load_vocabulary

    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where an abort prints
    try:
        load_vocabulary(library(), Path("file"))
    except UsageError as error:
        os.write(tell, str(error).encode())
        return ExitCode.USAGE
    return ExitCode.PARITY


def image() -> None:
    """A picture, as the vision tower takes it."""
    load_image(Path("file"), IMAGE)


def clip() -> None:
    """A sound, as the audio tower takes it."""
    load_clip(Path("file"), AUDIO)
