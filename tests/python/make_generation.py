"""Makes tests/fixtures/generation.npz: what `generate` of transformers finds for a decoder that is a table of numbers.

Run with a Python that has PyTorch and transformers 5: python tests/python/make_generation.py
"""

from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

HERE = Path(__file__).resolve().parent.parent / "fixtures"

VOCABULARY = 24
START, END, PAD, FIRST = 2, 3, 1, 0

# One change each to the settings of a greedy search, and of a beam search.
CHANGES = [
    {},
    {"forced_bos_token_id": FIRST},
    {"forced_eos_token_id": END},
    {"min_length": 9},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3, "forced_bos_token_id": FIRST},
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.8, "min_length": 5},
    {"max_length": 2},
    {"max_length": 40, "no_repeat_ngram_size": 2, "repetition_penalty": 1.2},
]
BEAMS = [
    {"num_beams": 2},
    {"num_beams": 4},
    {"num_beams": 4, "early_stopping": True},
    {"num_beams": 4, "length_penalty": 2.0},
    {"num_beams": 3, "length_penalty": -1.0},
    {"num_beams": 3, "length_penalty": 0.0, "early_stopping": True},
]


class Table(PreTrainedModel, GenerationMixin):
    """Says of the next token what the table says for the last one, with a slope along the sequence."""

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, config: PretrainedConfig, table: torch.Tensor, slope: torch.Tensor) -> None:
        super().__init__(config)
        self.table, self.slope = torch.nn.Parameter(table), torch.nn.Parameter(slope)

    def forward(self, input_ids: torch.Tensor, **_: object) -> CausalLMOutput:
        places = torch.arange(input_ids.shape[1], dtype=torch.float32)
        return CausalLMOutput(logits=self.table[input_ids] + self.slope * places[None, :, None])

    def prepare_inputs_for_generation(self, input_ids: torch.Tensor, **_: object) -> dict[str, torch.Tensor]:
        return {"input_ids": input_ids}


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    cases = 0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn((VOCABULARY, VOCABULARY), generator=generator) * 1.5
        slope = torch.randn(VOCABULARY, generator=generator) * 0.05
        # The end becomes likelier with every token.
        slope[END] = 0.25
        table[:, END] -= 2.0
        arrays |= {f"table{seed}": table.numpy(), f"slope{seed}": slope.numpy()}
        model = Table(PretrainedConfig(vocab_size=VOCABULARY), table, slope).eval()
        for change in [*CHANGES, *BEAMS, *(beam | change for beam in BEAMS for change in CHANGES)]:
            settings = dict(max_length=20, num_beams=1, length_penalty=1.0, early_stopping=False, do_sample=False) | change
            config = GenerationConfig(pad_token_id=PAD, eos_token_id=END, bos_token_id=START, use_cache=False, **settings)
            ids = model.generate(torch.tensor([[START]]), generation_config=config)
            arrays[f"ids{cases}"] = ids[0].numpy()
            whole = [seed, settings["max_length"], settings.get("min_length", 0), settings["num_beams"]]
            whole += [settings.get("no_repeat_ngram_size", 0), int(settings["early_stopping"])]
            whole += [settings.get("forced_bos_token_id", -1), settings.get("forced_eos_token_id", -1)]
            arrays[f"whole{cases}"] = np.array(whole, np.int64)
            arrays[f"real{cases}"] = np.array([settings["length_penalty"], settings.get("repetition_penalty", 1.0)], np.float64)
            cases += 1
    np.savez_compressed(HERE / "generation.npz", **arrays)
    print(cases, "cases")


if __name__ == "__main__":
    main()
