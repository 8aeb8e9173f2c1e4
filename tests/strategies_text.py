"""Texts that are hard on a tokenizer: picked by hand, and drawn by Hypothesis."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<|endoftext|>"]

PICKED = [
    "", " ", "\n", "\t \r\n", "a", "Hello, World!", "unaffable", "don't they've I'm 'tis l'été",
    "naïve café Fluß ÅNGSTRÖM ǅ", "e\u0301 o\u0308 Z\u0351\u036b\u0343\u036a", "\u0301a", "\u0301",
    "İstanbul ΌΔΟΣ ΣΑΣ σς ẞß ﬁﬃ", "I\u0307", "\u1e9b\u0323", "\u212b \u2126 \u212a \u00b5 \u017f",
    "我们今天去北京看长城。", "日本語テキスト が か\u3099", "안녕하세요 \u1112\u1161\u11ab 한국어",
    "नमस्ते दुनिया", "مرحبا بالعالم ١٢٣", "שָׁלוֹם", "สวัสดีชาวโลก", "ภาษาไทย", "𐍈𐌰 𝒳 𝟘 𠀀 𪛖 𫠠 𫤰",
    "\uf900\ufa0e\U0002f800", "\u3007\u3005\u30fc\u3400\u4dbf\u9fff\u2e80\u31c0",
    "🙂", "a🙂b", "👩‍👩‍👧 👍🏽 🇩🇪 ❤️ 1️⃣", "\U000e0041\U000e007f",
    "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\u180eh", "\u200b", "\ufeff\u200d\u200b", "a\u200b",
    "\u200ba \u200b b", "x\x00y\x1bz\x7f\x80\x9f", "\x00", "\ufffd", "a\ufffdb", "\ufffe\uffff",
    "\ue000\uf8ff\U000f0000\U0010fffd", "\x0b\x0c\x85\x1c\x1d\x1e\x1f a\x1cb\x0bc\x85d",
    "\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000", "a\u00a0b\u3000c\u2028d", "a\u1361b",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "«a»„b“—c…d¿e¡f‽§¶·†‰′※⁂",
    "$5 €5 £5 + − × ÷ = ° © ® ™ ^ ¨ ´",
    "\u037e\u0387\u1fef\u1ffd\u2000", "a_b-c.d/e\\f", "user@example.org https://a.b/c?d=e#f",
    "1,234.5 3.14 0x1F ½ ² Ⅷ ١ १ ㊿ ①", "x" * 99, "x" * 100, "x" * 101, "é" * 100, "é" * 101,
    "e\u0301" * 100, "한" * 34, "x" * 1000 + " y", "a" * 99 + "!", "ab" * 60,
    "##", "##a", "a##b", "# #",
    "[MASK]", "a[MASK]b", "[mask]", "[MASK", "[[MASK]]", "[CLS] a [SEP] b [SEP]", "[UNK][PAD][UNK]",
    " [MASK] ", "[MASK]\u0301", "[\u200bMASK]", "[MA[MASK]SK]", "<|endoftext|>", " <|endoftext|> a",
    "the [MASK] ship's mate didn't know what they'd find", "aaaaaaaaaaaaaaaa", "abababababababab",
    "\u302e\u1b44", "a\u302e\u0301\u1b44b", "a\u0301\u302e\u034f\u1b44",
    "\u08d4\u0652a\u08d4\x00\u0652",
    "\u0344\u0340\u0341\u0374\u0958\u0f73\u0f81", "\u1734a\u1734", "\U00011938a",
    "\U000111c9\u166d",
    "\u0378a", "a\u0898\u08d3b", "\u1cd3\u1cc0\u1bfc\u2e43\u2e52", "\U0001e900\U0001e943 ᏸᎠꭰ ა Ა",
]  # fmt: skip

letters = st.sampled_from("abcdehilnorst ABC  .,'-1ñé我ß")
marks = st.sampled_from("\u0301\u0327\u034f\u302e\u1b44\u08d4\u0652\u0338\u05b4\u0e38\u3099\x00")
blanks = st.sampled_from(" \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2003\u2028\u3000\u200b\ufeff")
pieces = st.sampled_from(
    [*SPECIAL, "the ", " ship", "##", "'s", "'ll", "  ", "👩‍👧", "Über", "北京"]
)
characters = (
    letters
    | marks
    | blanks
    | pieces
    | st.characters(max_codepoint=0x24F)
    | st.characters(min_codepoint=0x250, max_codepoint=0x33FF)
    | st.characters(exclude_categories=["Cs", "Cn", "Co"])
)
texts = st.lists(characters, max_size=24).map("".join)


def known(text: str) -> bool:
    """Whether this Python's Unicode has all characters; those it lacks have no case or class."""
    return all(unicodedata.category(character) != "Cn" for character in text)
