"""Dates as people write them, to translate into ISO 8601: "Samstag, 3. März '07" -> "2007-03-03".

A small task for a Transformer that translates, character by character.  The dates are endless and
seeded; a format is made of pieces: a language, a layout, how day, month and year are written, a
weekday, and the case.  Certain languages and layouts never meet in training, but each occurs there
with others; the test formats are those that join them.  Dates that test or validate do not train.

No text has two meanings, by construction:

- Months are words, or the separator tells the order: 3.12.2007 has the day first, 12/3/2007 the
  month, 2007-12-3 the year.  That is a convention, which a model can only learn.
- A month's word means the same month in every language, and no weekday has that name.
- All years are from 1970 to 2069, so two digits tell which; among words they have an apostrophe,
  in numbers their place.

What it cannot show: how people really write.  They mean either day by 3/12/2007, misspell, and
mix; and since languages share words ("april", "mars"), one test text in eight could stand in a
training format of another one.  `numbers_only` is right for the one in twelve that is in January.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .text import check_generator, whole

FIRST, LAST = datetime.date(1970, 1, 1), datetime.date(2069, 12, 31)
PAD, START, END = 0, 1, 2  # ids in front of those of the characters

_CALENDARS = {  # months, their short forms, days from Monday on, what joins day, month and year
    "en": (
        "January February March April May June July August September October November December",
        "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
        " ",
    ),
    "de": (
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "Jan. Feb. Mrz. Apr. Mai Jun. Jul. Aug. Sept. Okt. Nov. Dez.",
        "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
        " ",
    ),
    "fr": (
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
        "lundi mardi mercredi jeudi vendredi samedi dimanche",
        " ",
    ),
    "es": (
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        "ene. feb. mar. abr. may. jun. jul. ago. sept. oct. nov. dic.",
        "lunes martes miércoles jueves viernes sábado domingo",
        " de ",
    ),
    "it": (
        "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
        "dicembre",
        "gen feb mar apr mag giu lug ago set ott nov dic",
        "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        " ",
    ),
    "nl": (
        "januari februari maart april mei juni juli augustus september oktober november december",
        "jan. feb. mrt. apr. mei jun. jul. aug. sep. okt. nov. dec.",
        "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        " ",
    ),
    "pt": (
        "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
        "jan. fev. mar. abr. mai. jun. jul. ago. set. out. nov. dez.",
        "segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo",
        " de ",
    ),
    "sv": (
        "januari februari mars april maj juni juli augusti september oktober november december",
        "jan. feb. mars apr. maj juni juli aug. sep. okt. nov. dec.",
        "måndag tisdag onsdag torsdag fredag lördag söndag",
        " ",
    ),
}
LANGUAGES = tuple(_CALENDARS)
WORD_LAYOUTS = ("D_M_Y", "M D, Y", "Y M D", "D-M-Y", "D/M/Y", "Y, D_M")
NUMBER_LAYOUTS = ("D.M.Y", "M/D/Y", "Y-M-D")
PIECES = {
    "language": LANGUAGES,
    "layout": (*WORD_LAYOUTS, *NUMBER_LAYOUTS),
    "month": ("full", "short", "number"),
    "day": ("plain", "padded", "ordinal"),
    "year": ("full", "short"),
    "weekday": ("none", "before", "after"),
    "case": ("usual", "lower", "upper"),
}
_LETTERS = "".join(itertools.chain.from_iterable(_CALENDARS.values())) + "stndrdther"
DATE_CHARACTERS = "".join(sorted(set("0123456789 ,.-/:'()º" + _LETTERS.lower() + _LETTERS.upper())))
DATE_VOCAB = 3 + len(DATE_CHARACTERS)
_IDS = {character: id for id, character in enumerate(DATE_CHARACTERS, 3)}
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class DateFormat:
    """One of each of `PIECES`; not all of them go together, see `date_formats`."""

    language: str
    layout: str
    month: str
    day: str
    year: str
    weekday: str
    case: str

    def write(self, date: datetime.date) -> str:
        """The date, so written."""
        months, short, weekdays, join = _CALENDARS[self.language]
        year = f"{date.year:04}" if self.year == "full" else f"{date.year % 100:02}"
        if self.month == "number":
            month = f"{date.month:02}" if self.day == "padded" else str(date.month)
        else:
            month = (months if self.month == "full" else short).split()[date.month - 1]
            year = year if self.year == "full" else f"'{year}"
        pieces = {"D": self._day(date.day), "M": month, "Y": year, "_": join}
        text = "".join(pieces.get(character, character) for character in self.layout)
        weekday = weekdays.split()[date.weekday()]
        around = {"none": "{1}", "before": "{0}, {1}", "after": "{1} ({0})"}[self.weekday]
        text = around.format(weekday, text)
        return {"usual": text, "lower": text.lower(), "upper": text.upper()}[self.case]

    def _day(self, day: int) -> str:
        if self.day != "ordinal":
            return f"{day:02}" if self.day == "padded" else str(day)
        english = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        french = "er" if day == 1 else ""
        signs = {"en": english, "de": ".", "fr": french, "nl": "e", "sv": ":e"}
        return str(day) + signs.get(self.language, "º")

    @property
    def held_out(self) -> bool:
        """Whether language and layout are among those that do not meet in training."""
        if self.month == "number":
            return False
        return (LANGUAGES.index(self.language) + 3 * WORD_LAYOUTS.index(self.layout)) % 8 < 2


@cache
def date_formats(part: str) -> tuple[DateFormat, ...]:
    """All formats that "train" and "validation" use, or those of "test"; else ValueError."""
    if part not in PARTS:
        raise ValueError(f"date_formats: part must be one of {PARTS}, got {part!r}")
    found = []
    for pieces in itertools.product(*PIECES.values()):
        one = DateFormat(*pieces)
        numbers = one.month == "number"
        fits = numbers == (one.layout in NUMBER_LAYOUTS) and not (numbers and one.day == "ordinal")
        if fits and one.held_out == (part == "test"):
            found.append(one)
    return tuple(found)


def dates(count: int, rng: np.random.Generator, part: str = "train") -> tuple[list[str], list[str]]:
    """``count`` dates as people write them, and the same in ISO 8601.

    Each format and each day is equally likely.  Every tenth day of the calendar is never in part
    "train", and always in "validation" and "test".  Raises TypeError or ValueError.
    """
    check_generator("dates", rng)
    formats = date_formats(part)
    days = np.arange(FIRST.toordinal(), LAST.toordinal() + 1)
    days = days[(days % 10 == 0) != (part == "train")]
    texts, answers = [], []
    for _ in range(whole("dates: count", count)):
        date = datetime.date.fromordinal(int(days[rng.integers(len(days))]))
        texts.append(formats[rng.integers(len(formats))].write(date))
        answers.append(date.isoformat())
    return texts, answers


def date_batch(
    count: int, rng: np.random.Generator, part: str = "train"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same as ids of characters: source (B, S), inputs (B, 11) and targets (B, 11), int64.

    Sources are filled up by PAD; inputs are the answers behind START, targets those before END.
    """
    texts, answers = dates(count, rng, part)
    iso = date_ids(answers)
    ends = np.full((count, 1), END)
    return (
        date_ids(texts),
        np.concatenate([ends * 0 + START, iso], 1),
        np.concatenate([iso, ends], 1),
    )


def date_ids(texts: Sequence[str]) -> np.ndarray:
    """Texts as ids of their characters, (B, S) int64; ValueError if there are others."""
    ids = np.full((len(texts), max(map(len, texts))), PAD)
    for row, text in zip(ids, texts, strict=True):
        for i, character in enumerate(text):
            if character not in _IDS:
                raise ValueError(
                    f"date_ids: {character!r} in {text!r} is none of {DATE_CHARACTERS!r}"
                )
            row[i] = _IDS[character]
    return ids


def date_text(ids: np.ndarray) -> str:
    """(T,) ids -> text, up to END and without START and padding."""
    text = ""
    for id in ids.tolist():
        if id == END:
            break
        text += DATE_CHARACTERS[id - 3] if id > END else ""
    return text


def numbers_only(text: str) -> str:
    """A trivial translation: year and day by their digits, the month always January."""
    numbers = re.findall(r"'?\d+", text)
    years = [n for n in numbers if n[0] == "'" or len(n) == 4] or numbers[-1:]
    rest = [int(n) for n in numbers if n != years[0]] or [1]
    year = int(years[0].lstrip("'"))
    year += 0 if year > 99 else 1900 if year > FIRST.year % 100 - 1 else 2000
    return f"{year}-01-{rest[0]:02}"
