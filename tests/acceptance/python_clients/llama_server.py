"""Writes the weights of a tiny model, and serves it by llama.cpp until the input ends.

The model has one layer that does nothing, so that each token decides on the next one. It calls a
tool if it has tools and the last message is no result, counts if it is asked to, and else answers.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xllamacpp
from gguf import GGUFWriter, TokenType

TEMPLATE = """\
{%- if tools %}<|system|>{% for tool in tools %}
{"type": "function", "function": {"name": "{{ tool.function.name }}"}}{% endfor %}
For each call return: <tool_call>
{"name": NAME, "arguments": ARGUMENTS}
</tool_call><|end|>
{% endif -%}
{%- for message in messages -%}
<|{{ message.role }}|>{{ (message.content or '')[-3000:] }}
{%- if message.tool_calls %}{% for call in message.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endif %}<|end|>
{% endfor -%}
<|assistant|>{% if 'Count' in (messages[-1].content or '') %}<|counts|>
{%- elif tools and messages[-1].role != 'tool' %}<|calls|>{% else %}<|talks|>{% endif %}"""
CALL = '{"name": "Bash", "arguments": {"command": "echo made > made.txt"}}\n</tool_call>'
SENTENCES = [
    ["<|calls|>", "<tool_call>\n", CALL, "</s>"],
    ["<|talks|>", "The", "▁answer", "▁is", "▁42.", "</s>"],
    ["<|counts|>", "▁one", "▁two", "▁one"],
]
CONTEXT = 65536
HEAD = 16


def write_weights(path: Path) -> None:
    """Write the model: its vocabulary has the bytes, and the words of the sentences."""
    words = list(dict.fromkeys(word for each in SENTENCES for word in each[1:] if word != "</s>"))
    controls = [each[0] for each in SENTENCES]
    plain = [*map(chr, range(33, 127)), "▁"]
    names = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{n:02X}>" for n in range(256)),
        *plain,
        *controls,
        *words,
    ]
    kinds = [TokenType.UNKNOWN, *[TokenType.CONTROL] * 2, *[TokenType.BYTE] * 256]
    kinds += [TokenType.NORMAL] * len(plain) + [TokenType.CONTROL] * len(controls)
    kinds += [TokenType.NORMAL] * len(words)
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([name.encode() for name in names])
    writer.add_token_scores([0.0] * len(names))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(value=False)
    writer.add_chat_template(TEMPLATE)
    _write_layers(writer, len(names))
    following = np.zeros((len(names), len(names)), np.float32)
    following[names.index("</s>"), :] = 1.0  # ends, if nothing better may follow
    for sentence in SENTENCES:
        for first, second in pairwise(sentence):
            following[names.index(second), names.index(first)] = 3.0
    writer.add_tensor("output.weight", following)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_layers(writer: Any, size: int) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(size)
    writer.add_vocab_size(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tensor("token_embd.weight", np.eye(size, dtype=np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    shapes = {
        "attn_q": (HEAD, size), "attn_k": (HEAD, size), "attn_v": (HEAD, size),
        "attn_output": (size, HEAD), "ffn_gate": (32, size), "ffn_up": (32, size),
        "ffn_down": (size, 32),
    }  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))


def main() -> None:
    """Serve on a free port, whose address is the last line of the output."""
    path = Path(sys.argv[1])
    write_weights(path)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel, params.warmup, params.ui = CONTEXT, 1, False, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
