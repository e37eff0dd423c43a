"""Variants of the embeddings: of tokens, and of the towers' own ids."""

from __future__ import annotations

from reference.gemma3n.variants.writing import COARSE, PICTURE, SOUND, in_text, line, own, variant

EMBED = "Gemma3nTextScaledWordEmbedding.forward"
EMBEDDER = "Gemma3nMultimodalEmbedder.forward"
MODEL = "Gemma3nModel.forward"

SCALE = "self.embed_scale.to(self.weight.dtype)"
LOOKED_UP = "super().forward(input_ids)"
TOKENS, HARD = "embeddings", "embedders"
AS_TEXT = (
    line(MODEL, "torch.where(expanded_vision_mask, vision_embeds, inputs_embeds)", "inputs_embeds"),
    line(MODEL, "torch.where(expanded_audio_mask, audio_embeds, inputs_embeds)", "inputs_embeds"),
)
VISION, AUDIO = {"module": "model.embed_vision"}, {"module": "model.embed_audio"}

VARIANTS = (
    in_text("embed-scale-missing", TOKENS, "embed_tokens", "embeddings are not x sqrt(hidden_size)", "embed_tokens",
            own(EMBED, SCALE, "1.0")),
    in_text("embed-scale-squared", TOKENS, "embed_tokens", "embeddings x hidden_size: scaled on conversion and again",
            "embed_tokens", own(EMBED, SCALE, f"{SCALE}.square()")),
    in_text("embed-scale-decode", TOKENS, "embed_tokens", "embedding unscaled in decode only", "embed_tokens",
            own(EMBED, SCALE, f"(1.0 if input_ids.shape[-1] == 1 else {SCALE})"), scenario="decode",
            source="vLLM 48010"),
    in_text("embed-scale-unrounded", TOKENS, "embed_tokens",
            "sqrt(hidden_size) not rounded to the working dtype: 45.2548 for 45.25", "embed_tokens",
            own(EMBED, f"{LOOKED_UP} * {SCALE}",
                f"({LOOKED_UP}.float() * self.scalar_embed_scale).to(self.weight.dtype)"),
            dtypes=COARSE, source="transformers 37109"),
    in_text("embed-row-before", TOKENS, "embed_tokens", "the table has a row too many in front: each id reads the one"
            " before its own", "embed_tokens", own(EMBED, LOOKED_UP, "super().forward((input_ids - 1).clamp(min=0))")),
    in_text("embed-normed", TOKENS, "embed_tokens", "embeddings are normed to unit length before they are scaled",
            "embed_tokens", own(EMBED, LOOKED_UP, f"nn.functional.normalize({LOOKED_UP}, dim=-1)")),
    variant("hard-vision-offset", HARD, "vision ids look up the row before their own", "embed_vision.hard",
            own(EMBEDDER, "input_ids - self.vocab_offset", "(input_ids - self.vocab_offset - 1).clamp(min=0)"),
            **VISION),
    variant("hard-vision-soft-norm", HARD, "hard vision embeddings go through the soft tokens' norm",
            "embed_vision.hard", own(EMBEDDER, "self.hard_embedding_norm(hard_emb)",
                                     "self.soft_embedding_norm(hard_emb)"), **VISION),
    variant("hard-vision-no-norm", HARD, "hard vision embeddings are not normed before the projection",
            "embed_vision.hard", own(EMBEDDER, "self.hard_embedding_norm(hard_emb)",
                                     "hard_emb * self.hard_embedding_norm.weight"), **VISION,
            equivalent="the norm behind the projection absorbs any factor of a token, up to its epsilon"),
    variant("hard-audio-no-post-norm", HARD, "hard audio embeddings are not normed behind the projection",
            "embed_audio.hard", own(EMBEDDER, "self.embedding_post_projection_norm(emb_norm_proj)", "emb_norm_proj"),
            **AUDIO),
    variant("hard-audio-dummy-first", HARD, "other tokens get the first audio id's embedding instead of the last's",
            "embed_audio.hard",
            line(MODEL, "torch.where(audio_mask, input_ids, dummy_audio_token_id)",
                 "torch.where(audio_mask, input_ids, self.embed_audio.vocab_offset)")),
    variant("hard-vision-scaled", HARD, "hard vision embeddings are x sqrt(hidden_size), as text is",
            "text.inputs_embeds",
            line(MODEL, "torch.where(expanded_vision_mask, vision_embeds,",
                 "torch.where(expanded_vision_mask, vision_embeds * inputs_embeds.shape[-1] ** 0.5,"),
            scenario="outside"),
    variant("hard-ids-as-text", HARD, "ids of pictures and sounds are embedded by the text's table",
            "text.inputs_embeds",
            *AS_TEXT, scenario="outside", source="llama.cpp, mlx-lm, mlx-vlm"),
    variant("image-end-as-text", HARD, "the id that ends a picture is embedded by the text's table",
            "text.merged.image", *AS_TEXT, media=PICTURE, source="llama.cpp"),
    variant("audio-end-as-text", HARD, "the id that ends a sound is embedded by the text's table",
            "text.merged.audio", *AS_TEXT, media=SOUND, source="llama.cpp"),
    variant("hard-audio-as-vision", HARD, "audio ids keep what the vision table gives for other tokens",
            "text.inputs_embeds",
            line(MODEL, "torch.where(expanded_audio_mask, audio_embeds,",
                 "torch.where(expanded_audio_mask, vision_embeds,"), scenario="outside"),
    variant("soft-norm-hard", HARD, "soft tokens go through the hard embeddings' norm", "embed_vision.soft",
            own(EMBEDDER, "self.soft_embedding_norm(inputs_embeds)", "self.hard_embedding_norm(inputs_embeds)"),
            media=PICTURE, **VISION),
    variant("soft-norm-no-gain", HARD, "the soft norm has no gain", "embed_vision.soft",
            own(EMBEDDER, "self.soft_embedding_norm(inputs_embeds)",
                "self.soft_embedding_norm(inputs_embeds) / self.soft_embedding_norm.weight"),
            media=PICTURE, **VISION),
    variant("soft-norm-scale", HARD, "soft tokens lack x sqrt(2048) before the soft norm", "embed_vision.soft",
            line("Gemma3nModel.get_image_features", "self.embed_vision(inputs_embeds=last_hidden_state)",
                 "self.embed_vision(inputs_embeds=last_hidden_state"
                 " * self.config.vision_config.hidden_size**-0.5)"),
            media=PICTURE, source="optimum-onnx 56", equivalent="the norm absorbs any factor, up to its epsilon"),
)  # fmt: skip
