"""BERT's text cleaning (Devlin et al. 2019; `BasicTokenizer` of the published program).

What becomes of a character depends on that character alone (marks excepted, which may change
places: see `reorder`).  So the five steps

    1. control characters and U+FFFD go, white space becomes a space       (clean_text)
    2. Han ideographs stand alone, as they are words without spaces        (tokenize_chinese_chars)
    3. accents go: canonical decomposition, without its marks              (strip_accents)
    4. lower case, letter by letter: no final sigma                        (lowercase)
    5. punctuation stands alone, and all ASCII symbols count as such

are one table from code points to short strings, filled in when a character is first met.  A clean
text is words with spaces between, which `str.split` finds.

Lower case follows `unicodedata` and so this Python's version of Unicode; of a letter newer than it
the case is unknown.  Everything else follows the versions that the `tokenizers` library uses.
"""

from __future__ import annotations

import numpy as np

from .unicode8 import ACCENT, CONTROL, HAN, PUNCTUATION, WHITE, decompose, reorder


class Cleaning(dict[int, str]):
    """BERT's cleaning; as a dict, code point -> what becomes of it, for `str.translate`.

    strip_accents: None stands for "as lowercase".
    """

    def __init__(
        self,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        clean_text: bool = True,
    ):
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.clean_text = clean_text

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if self.clean_text and CONTROL.match(character):
            result = ""
        else:
            result = "".join(map(self._part, self._decomposed(character)))
            if self.tokenize_chinese_chars and HAN.match(character):
                result = f" {result} "
        self[code] = result
        return result

    def _decomposed(self, character: str) -> str:
        return ACCENT.sub("", decompose(character)) if self.strip_accents else character

    def _part(self, character: str) -> str:
        if WHITE.match(character):
            return " "
        lower = character.lower() if self.lowercase else character
        return f" {lower} " if PUNCTUATION.match(lower) else lower

    def clean(self, text: str) -> str:
        """Words and punctuation signs, with one or more spaces between."""
        return self._ordered(text).translate(self)

    def origins(self, text: str) -> np.ndarray:
        """For each character of `clean(text)` the position in `text` that it comes from.

        Where marks change places, the places stay: the library has it so.
        """
        results = map(self.__getitem__, map(ord, self._ordered(text)))
        lengths = np.fromiter(map(len, results), np.int64, len(text))
        return np.repeat(np.arange(len(text)), lengths)

    def _ordered(self, text: str) -> str:
        return reorder(text, gaps=self.clean_text) if self.strip_accents else text
