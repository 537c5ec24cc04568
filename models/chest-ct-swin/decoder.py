"""BART's decoder: token ids and a memory to the logits of the next token. Parameters are named as transformers names them, so that
the weights of a `BartForConditionalGeneration` load as they are; the encoder is not used."""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """From each token to tokens before it, or to the memory."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def by_head(self, x: torch.Tensor) -> torch.Tensor:
        """[B, n, width] to [B, heads, n, width / heads]."""
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, tokens: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.by_head(self.q_proj(tokens)), self.by_head(self.k_proj(others)), self.by_head(self.v_proj(others))
        found = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.out_proj(found.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention among tokens, attention to the memory, feed-forward; each added to its input and normed."""

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.self_attn = Attention(width, heads, causal=True)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.encoder_attn = Attention(width, heads, causal=False)
        self.encoder_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        x = self.self_attn_layer_norm(x + self.self_attn(x, x))
        x = self.encoder_attn_layer_norm(x + self.encoder_attn(x, memory))
        return self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))


class Decoder(nn.Module):
    """Ids [B, T] and memory [B, S, width] to hidden states [B, T, width]."""

    def __init__(self, vocabulary: int, width: int, heads: int, inner: int, layers: int, longest: int):
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        # BART counts positions from 2.
        self.embed_positions = nn.Embedding(longest + 2, width)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))
        self.layernorm_embedding = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        places = torch.arange(2, ids.size(1) + 2, device=ids.device)
        x = self.layernorm_embedding(self.embed_tokens(ids) + self.embed_positions(places))
        for layer in self.layers:
            x = layer(x, memory)
        return x


class ReportDecoder(nn.Module):
    """Ids int64 [B, T] and memory [B, S, width] to logits [B, T, vocabulary]; any B and T."""

    def __init__(self, vocabulary: int, width: int, heads: int, inner: int, layers: int, longest: int):
        super().__init__()
        self.decoder = Decoder(vocabulary, width, heads, inner, layers, longest)
        self.register_buffer("final_logits_bias", torch.zeros(1, vocabulary))

    def forward(self, ids: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        # The output layer is the embedding itself, as in BART.
        return F.linear(self.decoder(ids, memory), self.decoder.embed_tokens.weight) + self.final_logits_bias


class MemoryKeys(nn.Module):
    """What every step looks up in the memory, once for all of them: [1, S, width] to [1, 2 * layers, heads, S, width / heads],
    keys and values of one layer after the other."""

    def __init__(self, decoder: ReportDecoder):
        super().__init__()
        self.layers = nn.ModuleList(layer.encoder_attn for layer in decoder.decoder.layers)

    def forward(self, memory: torch.Tensor) -> torch.Tensor:
        kept = []
        for attention in self.layers:
            kept += [attention.by_head(attention.k_proj(memory)), attention.by_head(attention.v_proj(memory))]
        return torch.stack(kept, 1)


class Step(nn.Module):
    """One token more: ids int64 [B, 1], the keys and values of the memory, and those of the tokens before
    [B, 2 * layers, heads, T, width / heads] to logits [B, 1, vocabulary] and the latter with one token more."""

    def __init__(self, decoder: ReportDecoder):
        super().__init__()
        self.decoder = decoder.decoder
        self.register_buffer("final_logits_bias", decoder.final_logits_bias)

    def forward(self, ids: torch.Tensor, memory: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        place = torch.arange(ids.size(1), device=ids.device) + cache.size(3) + 2
        x = self.decoder.layernorm_embedding(self.decoder.embed_tokens(ids) + self.decoder.embed_positions(place))
        kept = []
        for number, layer in enumerate(self.decoder.layers):
            own = layer.self_attn
            keys = torch.cat((cache[:, 2 * number], own.by_head(own.k_proj(x))), 2)
            values = torch.cat((cache[:, 2 * number + 1], own.by_head(own.v_proj(x))), 2)
            kept += [keys, values]
            x = layer.self_attn_layer_norm(x + looked_up(own, x, keys, values))
            x = layer.encoder_attn_layer_norm(x + looked_up(layer.encoder_attn, x, memory[:, 2 * number], memory[:, 2 * number + 1]))
            x = layer.final_layer_norm(x + layer.fc2(F.gelu(layer.fc1(x))))
        return F.linear(x, self.decoder.embed_tokens.weight) + self.final_logits_bias, torch.stack(kept, 1)


def looked_up(attention: Attention, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention to keys and values that are there already."""
    found = F.scaled_dot_product_attention(attention.by_head(attention.q_proj(tokens)), keys, values)
    return attention.out_proj(found.transpose(1, 2).flatten(2))
