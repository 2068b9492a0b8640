"""Small tokenizers of the kinds that language models have, made by the `tokenizers` library."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "the cat sat on the mat",
    "the dog ate the cat's food",
    "naïve café, 日本語 text",
    "emoji 🙂🙃 and 👩‍👩‍👧 families",
    "a  b   c\nd\te",
] * 4
END = "<|end|>"


def byte_level() -> Tokenizer:
    """As GPT-2's: merges of bytes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=[END], show_progress=False)
    )
    return made


def byte_fallback() -> Tokenizer:
    """As Llama 2's: sentencepiece's words, and bytes for what is not among them. Every text begins with a token of its own."""
    words = ["<s>", END, "▁", "▁the", "▁cat", "the", "cat", "s", "é", "▁日", "a", "b", ".", "\n"]
    vocabulary = {word: index for index, word in enumerate(["<unk>", *words, *(f"<0x{byte:02X}>" for byte in range(256))])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", END)])
    made.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return made


def metaspace() -> Tokenizer:
    """As T5's: sentencepiece's unigrams."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", END]
    made.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False))
    return made


def word_piece() -> Tokenizer:
    """As BERT's, whose decoder joins punctuation to the word before it."""
    words = ["[UNK]", END, "the", "cat", "##s", "'", "s", ".", ",", "it", "##é"]
    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.add_special_tokens([END])
    return made


def word_level() -> Tokenizer:
    """Whole words, and no decoder at all."""
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["?", END, "the", "cat", "sat"])}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([END])
    return made


ALL = (byte_level, byte_fallback, metaspace, word_piece, word_level)
