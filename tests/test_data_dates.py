import dataclasses
import datetime
import re

import numpy as np
import pytest

from minitx.data import (
    DATE_CHARACTERS,
    DATE_VOCAB,
    DateFormat,
    date_batch,
    date_formats,
    date_ids,
    date_text,
    dates,
    numbers_only,
)
from minitx.data.dates import _CALENDARS, END, LANGUAGES, PAD, PIECES, START

DAY = datetime.date(2007, 3, 1)  # a Thursday
PLAIN = DateFormat("en", "D_M_Y", "full", "plain", "full", "none", "usual")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("pieces", "date", "text"),
    [
        ({}, DAY, "1 March 2007"),
        ({"layout": "M D, Y", "day": "ordinal"}, DAY, "March 1st, 2007"),
        ({"day": "ordinal"}, datetime.date(2007, 3, 12), "12th March 2007"),
        ({"day": "ordinal"}, datetime.date(2007, 3, 22), "22nd March 2007"),
        ({"weekday": "before", "case": "upper"}, DAY, "THURSDAY, 1 MARCH 2007"),
        ({"language": "de", "day": "ordinal", "year": "short"}, DAY, "1. März '07"),
        ({"language": "de", "month": "short", "layout": "D-M-Y"}, DAY, "1-Mrz.-2007"),
        ({"language": "fr", "weekday": "before", "day": "ordinal"}, DAY, "jeudi, 1er mars 2007"),
        ({"language": "es", "weekday": "after"}, DAY, "1 de marzo de 2007 (jueves)"),
        ({"language": "pt", "layout": "Y, D_M", "case": "upper"}, DAY, "2007, 1 de MARÇO".upper()),
        ({"language": "it", "month": "short", "layout": "D/M/Y"}, DAY, "1/mar/2007"),
        ({"language": "nl", "day": "ordinal"}, DAY, "1e maart 2007"),
        ({"language": "sv", "day": "ordinal", "case": "lower"}, DAY, "1:e mars 2007"),
        ({"month": "number", "layout": "D.M.Y"}, DAY, "1.3.2007"),
        ({"month": "number", "layout": "M/D/Y", "day": "padded", "year": "short"}, DAY, "03/01/07"),
        ({"month": "number", "layout": "Y-M-D", "day": "padded"}, DAY, "2007-03-01"),
    ],
)
def test_how_dates_are_written(pieces, date, text):
    assert dataclasses.replace(PLAIN, **pieces).write(date) == text


def test_calendars_are_complete():
    for months, short, weekdays, _ in _CALENDARS.values():
        assert (len(months.split()), len(short.split()), len(weekdays.split())) == (12, 12, 7)
        assert len(set(months.split())) == len(set(short.split())) == 12


def test_words_have_one_meaning():
    meaning = {}
    weekdays = {day.lower() for _, _, days, _ in _CALENDARS.values() for day in days.split()}
    for months, short, _, _ in _CALENDARS.values():
        for names in (months, short):
            for number, name in enumerate(names.lower().replace(".", "").split()):
                assert meaning.setdefault(name, number) == number and name not in weekdays


def test_no_text_has_two_meanings(rng):
    meaning = {}
    days = [datetime.date(y, m, d) for y in (2001, 2003) for m in range(1, 13) for d in (1, 2, 12)]
    formats = date_formats("train") + date_formats("test")
    for i in rng.permutation(len(formats))[:1500]:
        for day in days:
            assert meaning.setdefault(formats[i].write(day), day) == day


def test_years_of_two_digits_are_of_one_century():
    years = {year % 100 for year in range(1970, 2070)}
    assert len(years) == 100


def test_languages_and_layouts_in_test_never_meet_in_training():
    train, test = date_formats("train"), date_formats("test")
    assert date_formats("validation") == train
    pairs = [{(f.language, f.layout) for f in part} for part in (train, test)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[1]) == 12 and {pair[0] for pair in pairs[1]} == set(LANGUAGES)
    for name, values in PIECES.items():
        assert {getattr(f, name) for f in train} == set(values)
        assert {getattr(f, name) for f in test} <= set(values)
    assert len({f for f in train + test}) == len(train) + len(test)


def test_training_days_are_not_tested(rng):
    seen = {part: set(dates(3000, rng, part)[1]) for part in ("train", "validation", "test")}
    assert not seen["train"] & (seen["validation"] | seen["test"])
    assert min(seen["train"]) < "1972" and max(seen["train"]) > "2068"


def test_dates_follow_from_the_generator():
    one, same, other = (dates(20, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == same != other
    assert all(datetime.date.fromisoformat(iso) for iso in one[1])


def test_batches_of_ids(rng):
    source, inputs, targets = date_batch(50, rng, "test")
    assert source.dtype == inputs.dtype == targets.dtype == np.int64
    assert inputs.shape == targets.shape == (50, 11)
    assert (inputs[:, 0] == START).all() and (targets[:, -1] == END).all()
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    assert source.max() < DATE_VOCAB and (source[:, 0] != PAD).all()
    again, answers = dates(50, np.random.default_rng(0), "test")
    assert [date_text(row) for row in source] == again
    assert [date_text(row) for row in targets] == [date_text(row) for row in inputs] == answers


def test_every_text_can_be_encoded(rng):
    for part in ("train", "test"):
        for one in date_formats(part)[::7]:
            assert set(one.write(DAY)) <= set(DATE_CHARACTERS)
    everything = date_ids([DATE_CHARACTERS])
    np.testing.assert_array_equal(everything[0], np.arange(3, DATE_VOCAB))
    assert date_text(np.array([START, *everything[0][:4], END, 5, PAD])) == DATE_CHARACTERS[:4]
    with pytest.raises(ValueError, match="'#' in '1#2' is none of"):
        date_ids(["1#2"])


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("1. März '07", "2007-01-01"),
        ("Thursday, March 22nd, 1999", "1999-01-22"),
        ("3.12.2007", "2007-01-03"),
        ("12/3/69", "2069-01-12"),
        ("'70 3:e mars", "1970-01-03"),
    ],
)
def test_numbers_only(text, iso):
    assert numbers_only(text) == iso


def test_numbers_only_is_right_in_january(rng):
    texts, answers = dates(600, rng, "test")
    right = [numbers_only(a) == b for a, b in zip(texts, answers, strict=True)]
    january = [bool(re.search("-01-", b)) for b in answers]
    assert right == january


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((0, np.random.default_rng(0)), ValueError, "dates: count must be at least 1"),
        ((1.5, np.random.default_rng(0)), TypeError, "dates: count must be a whole number"),
        ((1, 0), TypeError, "dates: rng must be a numpy.random.Generator"),
        ((1, np.random.default_rng(0), "dev"), ValueError, "part must be one of .*, got 'dev'"),
    ],
)
def test_bad_arguments(arguments, error, says):
    with pytest.raises(error, match=says):
        dates(*arguments)
    with pytest.raises(error, match=says):
        date_batch(*arguments)
