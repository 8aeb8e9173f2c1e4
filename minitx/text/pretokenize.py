"""GPT-2's word splitting (Radford et al. 2019, section 2.2): what byte-pair merges never cross.

A word is the tail of an English contraction; or a run of letters, of digits or of other marks, with
at most one space in front; or white space, where a run leaves its last character to the next word.

GPT-2 states this as a regular expression over Unicode's categories L (letter) and N (number), which
the standard `re` does not know.  But the expression sees nothing of a character except its class.
So a text beyond ASCII is matched through its shadow: every foreign character replaced by an ASCII
character of the same class, position by position.  The text is then cut where the shadow is.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(
    r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+",
    re.ASCII,  # keeps U+001C to U+001F out of \s: str.isspace accepts them, Unicode does not
)


class _Shadow(dict):
    """Code point -> ASCII character of the same class, worked out when str.translate asks."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if code < 128:
            shadow = character
        elif category[0] == "L":
            shadow = "A"  # upper case, so that it completes no contraction
        elif category[0] == "N":
            shadow = "0"
        elif category[0] == "Z" or character == "\x85":  # Unicode's White_Space
            shadow = "\t"  # not a space: only U+0020 itself may stand in front of a word
        else:
            shadow = "!"
        self[code] = shadow
        return shadow


_SHADOW = _Shadow()


def split_words(text: str) -> list[str]:
    """Cut a text into GPT-2's words; joined they are the text again."""
    if text.isascii():
        return _WORD.findall(text)
    return [text[m.start() : m.end()] for m in _WORD.finditer(text.translate(_SHADOW))]
