"""Variants of what comes before the model and joins its modalities: tokens, prompt, picture, sound, merging."""

from __future__ import annotations

from parity.variant import Variant
from reference.gemma3n.variants.writing import GREY, PICTURE, RINGS, SOUND, STEREO, line, variant

EXTRACT = "transformers.models.gemma3n.feature_extraction_gemma3n:Gemma3nAudioFeatureExtractor._extract_spectrogram"
PROCESSOR = "transformers.models.gemma3n.processing_gemma3n:Gemma3nProcessor.replace_image_token"
PROCESSING = "reference.common.processing:Processing._inputs"
OPENED, SCALED = "reference.common.processing:_picture", "reference.common.processing:_eight_bits"
RESIZE = "transformers.image_processing_backends:TorchvisionBackend.resize"
WAVEFORM = "reference.common.processing:_waveform"
LOAD = "transformers.audio_utils:_load_audio_soundfile"
MODEL, HEAD = "Gemma3nModel.forward", "Gemma3nForConditionalGeneration.forward"

TOKENS, PREPROCESSING, MEL, MERGING = "tokens", "preprocessing", "mel", "merging"
IDS, MADE = 'found["input_ids"].numpy()', "found[name].numpy()"
GIVEN = "input_ids=input_ids,"
LOG = "np.log(np.maximum(mel_spec, self.mel_floor))"
FILTERS = "self.mel_filters"
UNFOLDED = "_unfold(waveform, dimension=-1, size=frame_size_for_unfold, step=self.hop_length)"
FRAME_MASK = "attention_mask[:: self.hop_length]"
RESIZED = "tvF.resize(image, new_size, interpolation=interpolation, antialias=antialias)"
EIGHT_BITS = "_eight_bits(Image.open(file))"
MIXED = "waveform.mean(axis=0) if waveform.shape[0] > 1 else waveform[0]"
RESAMPLED = 'soxr.resample(waveform, src_sampling_rate, sampling_rate, quality="soxr_hq")'
WINDOWED = "frames * self.window"
ANGLE = "2 * np.pi * (np.arange(self.frame_length) + {0}) / self.frame_length"
IMAGE, AUDIO = "special_image_mask, image_features)", "special_audio_mask, audio_features)"
CREATED = (
    "create_fb_matrix(n_freqs={0}, f_min=self.min_frequency, f_max=self.max_frequency, n_mels=self.feature_size,"
    " sample_rate=self.sampling_rate, fft_length={1}, norm={2})"
)


def _mel(name: str, meaning: str, *edits: tuple[str, str], source: str = "", step: str = "mel") -> Variant:
    """A wrong line of the feature extractor."""
    lines = (line(EXTRACT, old, new) for old, new in edits)
    return variant(name, MEL, meaning, f"processor.{step}", *lines, media=SOUND, source=source)


def _pixels(name: str, meaning: str, wrong: str) -> Variant:
    """Wrong pixels from the processor."""
    edit = line(PROCESSING, MADE, f"({wrong} if name == 'pixel_values' else {MADE})")
    return variant(name, PREPROCESSING, meaning, "processor.pixels", edit, media=PICTURE)


def _resized(name: str, meaning: str, image: str = "image", mode: str = "", antialias: str = "antialias") -> Variant:
    """A picture that is resized in another way."""
    mode = f"tvF.InterpolationMode.{mode}" if mode else "interpolation"
    edit = line(RESIZE, RESIZED, f"tvF.resize({image}, new_size, interpolation={mode}, antialias={antialias})")
    return variant(name, PREPROCESSING, meaning, "processor.pixels", edit, media=RINGS)


def _waveform(name: str, meaning: str, old: str, new: str) -> Variant:
    """A sound that is mixed or resampled in another way."""
    return variant(name, PREPROCESSING, meaning, "processor.waveform", line(LOAD, old, new), media=STEREO)


TOKEN_VARIANTS = (
    variant("prompt-newlines", TOKENS, "no newlines around the image block", "processor.token_ids",
            line(PROCESSOR, "self.full_image_sequence", "self.full_image_sequence.strip()"), media=PICTURE,
            source="onnxruntime-genai 2410"),
    variant("prompt-image-end-missing", TOKENS, "padding stands where the image ends", "processor.token_ids",
            line(PROCESSING, IDS, "found['input_ids'].masked_fill("
                                  "found['input_ids'] == self._load().tokenizer.eoi_token_id, 0).numpy()"),
            media=PICTURE),
    variant("prompt-begin-twice", TOKENS, "two begin tokens: the template's and the tokenizer's", "processor.token_ids",
            line(PROCESSING, IDS, "np.pad(found['input_ids'].numpy(), ((0, 0), (1, 0)), constant_values="
                                  "self._load().tokenizer.bos_token_id)"), media=PICTURE, source="mlx-vlm"),
    variant("token-begin-missing", TOKENS, "padding stands where the text begins", "text.input_ids",
            line(HEAD, GIVEN, "input_ids=input_ids.masked_fill(input_ids == 2, 0),")),
    variant("token-ids-shifted", TOKENS, "ids are those of a vocabulary with one more special token", "text.input_ids",
            line(HEAD, GIVEN, "input_ids=(input_ids + 1) % 512,")),
    variant("token-order-reversed", TOKENS, "tokens stand in reverse order", "text.input_ids",
            line(HEAD, GIVEN, "input_ids=input_ids.flip(1),")),
)  # fmt: skip

IMAGE_VARIANTS = (
    _pixels("pixels-unscaled", "pixels from 0 to 255", f"{MADE} * np.float32(255)"),
    _pixels("pixels-by-256", "pixels are / 256 instead of / 255", f"{MADE} * np.float32(255 / 256)"),
    _pixels("pixels-normalised", "pixels are normalised to -1 to 1", f"{MADE} * np.float32(2) - np.float32(1)"),
    _pixels("pixels-mirrored", "columns from right to left", f"{MADE}[..., ::-1].copy()"),
    _pixels("pixels-shifted", "the picture is one column too far right", f"np.roll({MADE}, 1, -1)"),
    _pixels("pixels-gamma", "pixels are taken as linear light", f"{MADE} ** np.float32(2.2)"),
    _pixels("pixels-bgr", "blue stands before green and red", f"{MADE}[:, ::-1].copy()"),
    _resized("picture-cropped", "the middle square is cut out instead of squeezing all", "HELPERS.middle(image)"),
    _resized("picture-padded", "the picture keeps its shape, on a black square", "HELPERS.squared(image)"),
    _resized("resize-no-antialias", "resizing has no antialiasing", antialias="False"),
    _resized("resize-bicubic", "resizing is bicubic instead of bilinear", mode="BICUBIC"),
    _resized("resize-lanczos", "resizing is Lanczos' instead of bilinear", mode="LANCZOS"),
    _resized("resize-nearest", "resizing takes the nearest pixel instead of bilinear", mode="NEAREST"),
    variant("exif-ignored", PREPROCESSING, "the picture lies as it is stored, not as its EXIF orientation says",
            "processor.pixels", line(OPENED, f"ImageOps.exif_transpose({EIGHT_BITS})", EIGHT_BITS), media=RINGS),
    variant("grey-16-bit-clipped", PREPROCESSING, "16-bit greys are clipped at 255 instead of scaled",
            "processor.pixels", line(SCALED, 'image.mode.startswith("I;16")', "False"), media=GREY,
            source="transformers given an image of Pillow's mode I;16"),
)  # fmt: skip

MEL_VARIANTS = (
    _mel("mel-mask-off-by-one", "the mask is one frame shorter", (FRAME_MASK, "attention_mask[self.hop_length :: self."
         "hop_length]"), source="transformers 39919", step="mel_mask"),
    _mel("mel-mask-all-sound", "padding counts as sound", (FRAME_MASK, f"np.ones_like({FRAME_MASK})"),
         step="mel_mask"),
    _mel("mel-fft-overdrive", "FFT length 512 for 1024",
         ("n=self.fft_length", "n=self.fft_length // 2"),
         (FILTERS, CREATED.format("self.fft_length // 4 + 1", "self.fft_length // 2", "None")), source="mlxcel 796"),
    _mel("mel-log-floor", "log(m + 1e-3) for log(max(m, 1e-5))", (LOG, "np.log(mel_spec + 1e-3)"),
         source="mlxcel 796"),
    _mel("mel-frame-plus-one", "of frame length + 1 samples the first is dropped instead of the last",
         (UNFOLDED, f"np.roll({UNFOLDED}, -1, -1)"), source="mlxcel 796"),
    _mel("mel-log10", "decimal instead of natural logarithm", (LOG, f"{LOG} / np.log(10)")),
    _mel("mel-power", "squared magnitudes", ("np.abs(stft)", "np.abs(stft) ** 2")),
    _mel("mel-slaney", "filters are normalised by their width",
         (FILTERS, CREATED.format("self.fft_length // 2 + 1", "self.fft_length", "'slaney'"))),
    _mel("mel-window-symmetric", "the Hann window is symmetric instead of periodic",
         (WINDOWED, "frames * np.hanning(self.frame_length).astype(np.float32)")),
    _mel("mel-window-half-sample", "the Hann window stands half a sample further on",
         (WINDOWED, f"frames * (0.5 - 0.5 * np.cos({ANGLE.format(0.5)})).astype(frames.dtype)")),
    _mel("mel-window-hamming", "the window is Hamming's instead of Hann's",
         (WINDOWED, f"frames * (0.54 - 0.46 * np.cos({ANGLE.format(0)})).astype(frames.dtype)")),
    _mel("mel-no-window", "frames have no window", (WINDOWED, "frames * np.float32(1)")),
    _mel("mel-no-preemphasis", "samples are not pre-emphasised",
         ("if self.preemphasis > 0.0:", "if self.preemphasis < 0.0:")),
    _mel("mel-preemphasis-plain", "pre-emphasis of the whole frame, not HTK's",
         ("if self.preemphasis_htk_flavor:", "if not self.preemphasis_htk_flavor:")),
    variant("waveform-16-bit", PREPROCESSING, "samples are integers instead of -1 to 1", "processor.waveform",
            line(WAVEFORM, "load_audio(file, sampling_rate=rate, backend=\"soundfile\")",
                 "load_audio(file, sampling_rate=rate, backend=\"soundfile\") * np.float32(32768)"), media=SOUND),
    _waveform("waveform-left-alone", "the left channel instead of the mean of both", MIXED, "waveform[0]"),
    _waveform("waveform-summed", "the sum of both channels instead of their mean", MIXED, "waveform.sum(axis=0)"),
    _waveform("waveform-not-resampled", "samples stay at the file's own rate",
              "if src_sampling_rate != sampling_rate:", "if False:"),
    _waveform("waveform-linear", "resampling interpolates linearly, without a filter", RESAMPLED,
              "HELPERS.interpolated(waveform, src_sampling_rate, sampling_rate)"),
    variant("waveform-normalised", PREPROCESSING, "clips are brought to a peak of 1", "processor.waveform",
            line(WAVEFORM, "return found", "return found / np.abs(found).max()"), media=SOUND),
)  # fmt: skip

MERGE_VARIANTS = (
    variant("merge-early-return", MERGING, "returns after merging the image: audio is lost", "text.merged.audio",
            line(MODEL, AUDIO, "special_audio_mask & (pixel_values is None), audio_features)"),
            media=PICTURE + SOUND, source="mlx-vlm"),
    variant("merge-image-shifted", MERGING, "soft tokens stand one place too far", "text.merged.image",
            line(MODEL, IMAGE, "special_image_mask.roll(1, 1), image_features)"), media=PICTURE),
    variant("merge-image-reversed", MERGING, "soft tokens stand in reverse order", "text.merged.image",
            line(MODEL, IMAGE, "special_image_mask, image_features.flip(1))"), media=PICTURE),
    variant("merge-image-scaled", MERGING, "soft tokens are x sqrt(hidden_size), as text is", "text.merged.image",
            line(MODEL, IMAGE, "special_image_mask, image_features * inputs_embeds.shape[-1] ** 0.5)"),
            media=PICTURE),
    variant("merge-image-hard", MERGING, "image placeholders keep their hard embeddings", "text.merged.image",
            line(MODEL, IMAGE, "special_image_mask & False, image_features)"), media=PICTURE),
    variant("merge-clips-swapped", MERGING, "the sounds are in reverse order", "text.merged.audio",
            line(MODEL, AUDIO, "special_audio_mask, audio_features.flip(0))"), media=SOUND),
    variant("merge-audio-added", MERGING, "soft tokens are added to the placeholders' embeddings",
            "text.merged.audio",
            line(MODEL, f"inputs_embeds.masked_scatter({AUDIO}",
                 f"inputs_embeds * special_audio_mask + inputs_embeds.masked_scatter({AUDIO}"), media=SOUND),
)  # fmt: skip

VARIANTS = (*TOKEN_VARIANTS, *IMAGE_VARIANTS, *MEL_VARIANTS, *MERGE_VARIANTS)
