"""A checkpoint's chat template: a Jinja program that anybody may have written, run in a sandbox.

The environment is the reference's (`transformers.utils.chat_template_utils`): immutable and sandboxed, blocks trimmed,
loop controls, and the helpers that published templates call. It sees plain text and nothing else of the program's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn

from implementations.gemma3n.preprocessing.media_file import requires
from parity.errors import UsageError

if TYPE_CHECKING:
    import jinja2

CURE = "give another prompt, or mend the template"


def render(
    template: str, messages: Sequence[Mapping[str, Any]], special: Mapping[str, str], *, add_generation_prompt: bool
) -> str:
    """The prompt's text.

    Args:
        template: the template's source.
        messages: turns of JSON values, as `{"role": "user", "content": [{"type": "text", "text": "Hi"}]}`.
        special: texts of special tokens by role, such as `bos_token`.
        add_generation_prompt: whether the text ends where the model's turn begins.

    Raises:
        UsageError: when the template refuses the messages or fails.
        BackendUnavailable: where jinja2 is not installed.
    """
    with requires("jinja2"):
        import jinja2
    try:
        return _rendered(
            _compiled(template),
            {
                **special,
                "messages": messages,
                "add_generation_prompt": add_generation_prompt,
                "tools": None,
                "documents": None,
            },
        )
    except jinja2.TemplateError as error:
        raise UsageError(f"the checkpoint's chat template refuses these messages: {_line(error)}; {CURE}") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"the checkpoint's chat template makes what is no character; {CURE}") from error
    except Exception as error:  # a template's own mistake: any error that a program can make
        raise UsageError(f"the checkpoint's chat template fails on these messages: {_line(error)}; {CURE}") from error


def _rendered(template: jinja2.Template, given: Mapping[str, Any]) -> str:
    from implementations.gemma3n.preprocessing.bounded import Bound, collected

    with Bound():
        made = collected(template.generate(given))
    made.encode()  # half of a pair of UTF-16 is no character
    return made


@lru_cache(maxsize=4)
def _compiled(template: str) -> jinja2.Template:
    from jinja2.ext import loopcontrols

    from implementations.gemma3n.preprocessing.bounded import BoundedEnvironment

    # Not HTML: escaping would change the prompt. What users write is data to the template, never part of it.
    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    """JSON as prompts have it: Jinja's own escapes what HTML would take for markup."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
