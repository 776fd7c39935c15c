"""Quantities: exact from text, and readable as text."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collsched import units
from collsched.errors import InputError
from collsched.units import exact, parse_bandwidth, parse_latency, parse_number, parse_size


@pytest.mark.parametrize(
    ("text", "gigabytes"),
    [
        ("300", "300"),
        ("12.5", "25/2"),
        ("300 GB/s", "300"),
        ("300GB/s", "300"),
        ("2400 Gbit/s", "300"),
        ("200Gb/s", "25"),
        ("200 Gbps", "25"),
        ("25000 MB/s", "25"),
        ("1 GiB/s", "1073741824/1000000000"),
        ("3.6 TB/s", "3600"),
        ("25/3", "25/3"),
        ("25/3 GB/s", "25/3"),
        ("1e3 MB/s", "1"),
        (" .5 ", "1/2"),
        ("0.1", "1/10"),
    ],
)
def test_bandwidth(text, gigabytes):
    assert parse_bandwidth(text) == Fraction(gigabytes)


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("1.5", "3/2"), ("700 ns", "7/10"), ("2 ms", "2000"), ("1 µs", "1"), ("1 μs", "1"), ("0", "0")],
)
def test_latency(text, microseconds):
    assert parse_latency(text) == Fraction(microseconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MiB", 2**28), ("1.5 GB", 1_500_000_000), ("4096", 4096), ("1KB", 1000), ("0", 0), ("1 B", 1)],
)
def test_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["-1", "1.5", "1e30", "8 GB/s", "", "KiB", "1 KIB", "nan", "9" * 70, "0x10", "1_000"])
def test_bad_size(text):
    with pytest.raises(InputError, match=r".+; allowed .+; .+"):
        parse_size(text)


@pytest.mark.parametrize("text", ["٣", "12.5.1", "--5", "1e9999", "1/0", "1.5/2", "5 5 GB/s"])
def test_bad_number(text):
    with pytest.raises(InputError, match=r".+; allowed .+; .+"):
        parse_number(text)


@given(st.fractions(min_value=Fraction(1, 10**6), max_value=10**6, max_denominator=10**6))
def test_exact_text_reads_back(value):
    assert parse_number(exact(value)) == value
    assert parse_bandwidth(exact(value)) == value


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_decimals_are_exact(value):
    assert parse_number(f"{value:f}") == Fraction(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(7), "7"),
        (Fraction(25, 2), "12.5"),
        (Fraction(1, 3), "1/3"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(0), "0"),
    ],
)
def test_exact(value, text):
    assert exact(value) == text


def test_shown_to_people():
    assert units.format_bandwidth(Fraction(300)) == "300 GB/s"
    assert units.format_bandwidth(Fraction(25, 3)) == "8.333 GB/s"
    assert units.format_bandwidth(0.8) == "800 MB/s"
    assert units.format_bandwidth(Fraction(3600)) == "3.6 TB/s"
    assert units.format_bytes(2**28) == "256 MiB"
    assert units.format_bytes(1000) == "1000 B"
    assert units.format_bytes(3 * 2**29) == "1.5 GiB"
    assert units.format_seconds(1.23e-5) == "12.3 µs"
    assert units.format_seconds(0) == "0 ns"
    assert units.format_seconds(4.2e-3) == "4.2 ms"
