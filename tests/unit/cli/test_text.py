"""Values as text for people."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from flashback_async.cli import text

NOW = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1536, "1.50 KiB"),
        (10 * 2**20, "10.0 MiB"),
        (123 * 2**30, "123 GiB"),
        (1023 * 2**30, "1.00 TiB"),
        (2**80, "1.00 YiB"),
        (10**100, "8.27e+75 YiB"),
        (-5 * 2**20, "-5.00 MiB"),
    ],
)
def test_sizes_have_three_digits_and_a_unit(number, shown):
    assert text.size(number) == shown


def test_a_change_says_its_sign():
    assert [text.size(n, signed=True) for n in (2048, -2048, 0)] == [
        "+2.00 KiB",
        "-2.00 KiB",
        "0 B",
    ]


@pytest.mark.parametrize(
    ("passed", "shown"),
    [
        (timedelta(0), "0 s ago"),
        (timedelta(seconds=-30), "0 s ago"),  # a clock that is a little ahead of ours
        (timedelta(seconds=59), "59 s ago"),
        (timedelta(seconds=61), "1 min ago"),
        (timedelta(hours=5, minutes=59), "5 h ago"),
        (timedelta(days=3), "3 d ago"),
        (timedelta(days=40), "2023-12-06 10:30Z"),
        (timedelta(hours=-1), "2024-01-15 11:30Z"),
    ],
)
def test_ages_are_relative_until_they_mean_little(passed, shown):
    assert text.age(NOW - passed, NOW) == shown


def test_what_is_unknown_is_a_dash():
    unknown = [text.age(None, NOW), text.count(None), text.milliseconds(None)]
    assert [*unknown, text.percent(None), text.optional(None)] == ["-"] * 5


def test_numbers_are_grouped_and_have_their_unit():
    assert text.count(1234567) == "1,234,567"
    assert (text.milliseconds(88.0), text.milliseconds(1234.56)) == ("88 ms", "1,234.6 ms")
    assert text.percent(99.5) == "99.50 %"
    assert (text.seconds(0.1234), text.seconds(8.0)) == ("0.123 s", "8 s")
    assert (text.seconds(7.992384761000039), text.seconds(1234.567)) == ("7.99 s", "1,234.57 s")
    assert (text.plural(1, "bucket"), text.plural(2000, "bucket")) == ("1 bucket", "2,000 buckets")


@pytest.mark.parametrize("raw", ["\x1b[31m", "\x07", "a\nb", "\u202e", "\x9b", "\x7f", "\udcff"])
def test_what_a_terminal_would_act_on_is_escaped(raw):
    assert text.printable(f"Käse {raw}").isprintable()


def test_other_text_stays_as_it_is():
    assert text.printable("Käse 日本 \\x1b [red]") == "Käse 日本 \\x1b [red]"


def test_a_text_that_is_too_long_is_cut_short():
    assert text.shortened("12345678", 8) == "12345678"
    assert text.shortened("123456789", 8) == "12345..."
    assert text.shortened("\x1b" * 3, 8) == "\\x1b\\..."


def test_a_moment_is_shown_in_utc():
    east = timezone(timedelta(hours=2))
    assert text.utc(datetime(2024, 1, 15, 12, 30, tzinfo=east)) == "2024-01-15T10:30:00Z"
