"""llama.cpp's C interface through cffi, from the shared object that the package xllamacpp brings.

The package itself is not imported: its object exports the whole C interface, and is opened by its path. Layouts of
structures change from build to build, and a wrong one writes anywhere. So the version is exact, and sizes and defaults
are held against what this file declares before anything is passed.
"""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.errors import BackendUnavailable

if TYPE_CHECKING:
    from cffi import FFI

PACKAGE, VERSION = "xllamacpp", "2026.10.11549"
INSTALL = "llama.cpp is not installed: pip install 'gemma3n-parity[gguf]'"

WHEELS: dict[tuple[str, str], tuple[int, ...]] = {
    ("Linux", "x86_64"): (2, 17), ("Linux", "aarch64"): (2, 17),
    ("Darwin", "arm64"): (13,), ("Darwin", "x86_64"): (13,), ("Windows", "AMD64"): (),
}  # fmt: skip
"""Systems and processors that the package is built for, and the least glibc or macOS."""
ELSEWHERE = (
    "run llama-cpp where there is one (Linux with glibc 2.17, macOS 13, both on x86-64 or ARM, or Windows on x86-64), "
    "as in a container; every other backend, and parity gguf convert, do without it"
)

DECLARATIONS = """
typedef struct ggml_tensor {
    int type; void * buffer; int64_t ne[4]; size_t nb[4]; int op; int32_t op_params[16]; int32_t flags;
    struct ggml_tensor * src[10]; struct ggml_tensor * view_src; size_t view_offs; void * data; char name[64];
    void * extra; char padding[8];
} ggml_tensor;
typedef bool (*callback)(ggml_tensor * tensor, bool ask, void * user_data);
typedef void (*logger)(int level, const char * text, void * user_data);
typedef struct {
    void * devices; void * tensor_buft_overrides; int32_t n_gpu_layers; int split_mode, load_mode, lazy_mode;
    int32_t main_gpu; void * tensor_split; void * progress_callback; void * progress_callback_user_data;
    void * kv_overrides; bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
} model_params;
typedef struct {
    uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
    int32_t n_threads, n_threads_batch;
    int ctx_type, rope_scaling_type, pooling_type, attention_type, flash_attn_type;
    float rope_freq_base, rope_freq_scale, yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
    uint32_t yarn_orig_ctx; float defrag_thold; callback cb_eval; void * cb_eval_user_data; int type_k, type_v;
    size_t moe_cache_size; void * abort_callback; void * abort_callback_data;
    bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
    void * samplers; size_t n_samplers; void * ctx_other;
} context_params;
typedef struct {
    int32_t n_tokens; int32_t * token; float * embd; int32_t * pos; int32_t * n_seq_id; int32_t ** seq_id;
    int8_t * logits;
} batch;
model_params llama_model_default_params(void);
context_params llama_context_default_params(void);
void llama_backend_init(void);
void llama_log_set(logger log, void * user_data);
void * llama_model_load_from_file(const char * path, model_params params);
void llama_model_free(void * model);
int32_t llama_model_meta_val_str(const void * model, const char * key, char * buffer, size_t size);
int32_t llama_model_n_embd(const void * model);
int32_t llama_model_n_layer(const void * model);
const void * llama_model_get_vocab(const void * model);
int32_t llama_vocab_n_tokens(const void * vocab);
void * llama_init_from_model(void * model, context_params params);
void llama_free(void * context);
void * llama_get_memory(const void * context);
void llama_memory_clear(void * memory, bool data);
batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max);
void llama_batch_free(batch tokens);
int32_t llama_decode(void * context, batch tokens);
float * llama_get_logits(void * context);
const char * ggml_op_name(int op);
const char * ggml_unary_op_name(int op);
const char * ggml_type_name(int type);
size_t ggml_tensor_overhead(void);
size_t ggml_nbytes(const ggml_tensor * tensor);
void ggml_backend_tensor_get(const ggml_tensor * tensor, void * data, size_t offset, size_t size);
void ggml_backend_tensor_set(ggml_tensor * tensor, const void * data, size_t offset, size_t size);
"""
"""What is used of llama.h, ggml.h and ggml-backend.h; handles are pointers that nobody looks behind."""

OBJECT_HEADER = 32
"""Bytes that ggml keeps before each tensor: its overhead less the tensor itself."""
MODEL_DEFAULTS = {"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "main_gpu": 0, "use_extra_bufts": True}
CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "rope_freq_base": 0.0, "yarn_ext_factor": -1.0,
    "defrag_thold": -1.0, "type_k": 1, "type_v": 1, "offload_kqv": True, "swa_full": True, "n_samplers": 0,
}  # fmt: skip
"""What the declared build sets; a field that stands elsewhere reads as another."""

ERROR, CONTINUED = 4, 5
"""llama.cpp's levels of an error, and of what goes on the line before."""
LONGEST = 300
"""Characters of a message that are kept."""
WRITE_AGAIN = "write it again with parity gguf convert"
"""What helps where a file cannot be loaded."""


class Library:
    """The shared object, opened and held against `DECLARATIONS`; its messages are kept instead of printed.

    Attributes:
        ffi: makes and reads C values.
        c: the functions.
        logger: hears llama.cpp's messages.

    Raises:
        BackendUnavailable: where it cannot be opened, or its layouts are others.
    """

    def __init__(self, path: Path) -> None:
        from cffi import FFI

        self.ffi: FFI = FFI()
        self.ffi.cdef(DECLARATIONS)
        try:
            self.c: Any = self.ffi.dlopen(str(path))
        except OSError as error:
            raise BackendUnavailable(f"llama.cpp cannot be loaded from {path}: {error}") from error
        self._require_layouts()
        self._errors: list[str] = []
        self._level = 0
        self.logger = self.ffi.callback("logger", self._log)
        self.c.llama_log_set(self.logger, self.ffi.NULL)
        self.c.llama_backend_init()

    def text(self, pointer: Any) -> str:
        """A C string; what is no UTF-8 in it is replaced, for names stand in files that anybody wrote."""
        found: bytes = self.ffi.string(pointer)
        return found.decode(errors="replace")

    def reason(self) -> str:
        """The first error that llama.cpp told of; the others say what did not come of it. Forgets all.

        Whole, for a name in it may have line ends; of a long one the beginning.
        """
        messages = [message.strip()[:LONGEST] for message in self._errors]
        self._errors.clear()
        return next(filter(None, messages), "llama.cpp says no more")

    def _log(self, level: int, text: Any, _: Any) -> None:
        self._level = self._level if level == CONTINUED else level
        if self._level != ERROR:
            return
        if level == CONTINUED and self._errors:
            self._errors[-1] += self.text(text)
        else:
            self._errors.append(self.text(text))

    def _require_layouts(self) -> None:
        size = self.ffi.sizeof("ggml_tensor") + OBJECT_HEADER
        if (found := self.c.ggml_tensor_overhead()) != size:
            raise _unfit(f"a tensor takes {found} bytes instead of {size}")
        for made, expected in (
            (self.c.llama_model_default_params(), MODEL_DEFAULTS),
            (self.c.llama_context_default_params(), CONTEXT_DEFAULTS),
        ):
            for name, value in expected.items():
                if (found := getattr(made, name)) != value:
                    raise _unfit(f"the default of {name} is {found} instead of {value}")


def _unfit(what: str) -> BackendUnavailable:
    return BackendUnavailable(f"the installed llama.cpp is another build than {PACKAGE} {VERSION}: {what}; {_CURE}")


_CURE = f"pip install '{PACKAGE}=={VERSION}'"


@functools.cache  # callbacks and handles refer to it for as long as the process lives
def library() -> Library:
    """The installed llama.cpp.

    Raises:
        BackendUnavailable: where it is not installed, of another version, or cannot be loaded.
    """
    return Library(located())


def missing() -> str:
    """What to do where llama.cpp is not installed: to install it, or to know that it cannot be."""
    system, libc = platform.system(), platform.libc_ver()
    here = f"{system} on {platform.machine()}"
    if (system, platform.machine()) in WHEELS:
        least = WHEELS[system, platform.machine()]
        if system == "Linux" and libc[0] != "glibc":
            here += " without glibc"
        elif system == "Windows" or _release(libc[1] if system == "Linux" else platform.mac_ver()[0]) >= least:
            return INSTALL
        else:
            here += f" before {'glibc' if system == 'Linux' else 'macOS'} {'.'.join(map(str, least))}"
    return f"{PACKAGE} {VERSION} has no wheel for {here}: {ELSEWHERE}"


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def located() -> Path:
    """Where the shared object is; nothing is loaded.

    Raises:
        BackendUnavailable: where the package is not installed, of another version, or without the object.
    """
    try:
        found = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise BackendUnavailable(missing()) from error
    if found.version != VERSION:
        raise BackendUnavailable(f"llama.cpp is needed as {PACKAGE} {VERSION}; {found.version} is installed; {_CURE}")
    objects = [file for file in found.files or () if file.suffix in (".so", ".pyd") and file.parts[0] == PACKAGE]
    if len(objects) != 1:
        raise BackendUnavailable(f"{PACKAGE} {VERSION} has {len(objects)} shared objects instead of one; {_CURE}")
    return Path(str(found.locate_file(objects[0])))
