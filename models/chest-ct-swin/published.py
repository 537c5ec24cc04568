"""The parts of this package as the published libraries compute them: MONAI's sliding window, transformers' BART and `generate`.
What overread gives is compared with this; nothing here is used to make the modules."""

from dataclasses import dataclass

import torch
from monai.inferers import sliding_window_inference
from transformers import BartConfig, BartForConditionalGeneration, GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from decoder import ReportDecoder


@dataclass
class Search:
    """The table modules.generate of model.toml."""

    start_token: int = 2
    end_token: int = 2
    pad_token: int = 1
    forced_first_token: int | None = 0
    longest: int = 128
    shortest: int = 0
    beams: int = 4
    length_penalty: float = 1.0
    no_repeat_ngram: int = 3
    repetition_penalty: float = 1.0
    early_stopping: bool = True


def windows(voxels: torch.Tensor, module, size: tuple[int, int, int], overlap: float, sigma_scale: float, padding: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Blended scores [1, C, z, y, x], patches [N, D] in the order of the windows, window centres [N, 3] in 0..1 of the padded grid.
    `module` takes windows [B, 1, z, y, x] and gives scores and patches."""
    patches, seen = [], []

    def predict(window: torch.Tensor) -> torch.Tensor:
        scores, embedding = module(window[:, :1])
        patches.append(embedding)
        # Two more channels carry each voxel's place through MONAI's own cutting, so that its order is not assumed here.
        seen.append(window[:, 1:].mean(dim=(2, 3, 4)))
        return scores

    # The voxels' places, padded as MONAI pads, which cuts windows from the padded grid.
    shape = voxels.shape[2:]
    missing = [max(extent - n, 0) for extent, n in zip(size, shape)]
    before = [m // 2 for m in missing]
    padded = [n + m for n, m in zip(shape, missing)]
    pad = [p for axis in (2, 1, 0) for p in (before[axis], missing[axis] - before[axis])]
    filled = torch.nn.functional.pad(voxels, pad, value=padding)
    places = torch.stack(torch.meshgrid(*[(torch.arange(n) + 0.5) / n for n in padded], indexing="ij"))[None]
    with torch.no_grad():
        scores = sliding_window_inference(torch.cat([filled, places.to(filled)], dim=1), size, 1, predict, overlap=overlap, mode="gaussian", sigma_scale=sigma_scale)
    cut = tuple(slice(b, b + n) for b, n in zip(before, shape))
    return scores[(..., *cut)], torch.cat(patches), torch.cat(seen)


def bart(decoder: ReportDecoder) -> BartForConditionalGeneration:
    """transformers' model with the same weights; its encoder is there and not used."""
    inner = decoder.decoder
    vocabulary, width = inner.embed_tokens.weight.shape
    first = inner.layers[0]
    config = BartConfig(vocab_size=vocabulary, d_model=width, encoder_layers=1, decoder_layers=len(inner.layers), encoder_attention_heads=first.self_attn.heads,
                        decoder_attention_heads=first.self_attn.heads, encoder_ffn_dim=8, decoder_ffn_dim=first.fc1.out_features,
                        max_position_embeddings=inner.embed_positions.num_embeddings - 2, activation_function="gelu", attn_implementation="eager")
    model = BartForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.model.shared.weight.copy_(inner.embed_tokens.weight)
        model.model.decoder.load_state_dict(inner.state_dict(), strict=True)
        model.lm_head.weight.copy_(inner.embed_tokens.weight)
        model.final_logits_bias.copy_(decoder.final_logits_bias)
    # A forced last token, which BART's own configuration has, cuts a long report into one that looks whole: off. In the settings of a search
    # nothing stands for what the model has, so it is taken out here.
    model.generation_config.forced_eos_token_id = None
    return model


def generated(decoder: ReportDecoder, memory: torch.Tensor, search: Search) -> torch.Tensor:
    """Token ids [1, T] of `generate`, start token included."""
    model = bart(decoder)
    settings = GenerationConfig(
        decoder_start_token_id=search.start_token, bos_token_id=search.forced_first_token, eos_token_id=search.end_token, pad_token_id=search.pad_token,
        forced_bos_token_id=search.forced_first_token, forced_eos_token_id=None, max_length=search.longest, min_length=search.shortest,
        num_beams=search.beams, length_penalty=search.length_penalty, no_repeat_ngram_size=search.no_repeat_ngram,
        repetition_penalty=search.repetition_penalty, early_stopping=search.early_stopping, do_sample=False)
    with torch.no_grad():
        return model.generate(encoder_outputs=BaseModelOutput(last_hidden_state=memory), generation_config=settings)
