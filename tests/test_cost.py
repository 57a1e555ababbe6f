"""The calculator behind ``cloudcached cost``, against sums done by hand and an example of AWS's own."""

from __future__ import annotations

import pytest

from cloudcached.cost import PRICES, ObjectStore, Workload, break_even_gets_s, million, month

STANDARD, EXPRESS, NODE, SERVERLESS = PRICES
MONTH_S = 730 * 3600


def test_a_million_requests_of_s3_standard() -> None:
    assert isinstance(STANDARD, ObjectStore)
    assert million(STANDARD, 0) == pytest.approx((0.40, 5.00))


def test_express_as_in_the_example_of_the_s3_faq() -> None:
    """9,000,000 GETs and 1,000,000 PUTs of 10 KB: $0.27 + $0.05 and $1.13 + $0.03."""
    load = Workload(0, 10 * 1024, 9e6 / MONTH_S, 1e6 / MONTH_S)
    assert month(EXPRESS, load) == pytest.approx(0.27 + 0.05 + 1.13 + 0.03, abs=0.01)


def test_nodes_are_whole() -> None:
    one = month(NODE, Workload(1, 1, 1000, 1000))
    assert one == pytest.approx(0.219 * 730)
    assert month(NODE, Workload(11, 2**30 - 512, 0, 0)) == pytest.approx(2 * one)


def test_serverless_bills_its_least_and_its_units() -> None:
    assert month(SERVERLESS, Workload(0, 0, 0, 0)) == pytest.approx(0.1 * 0.084 * 730)
    busy = month(SERVERLESS, Workload(0, 2048, 1e6 / MONTH_S, 0)) - month(SERVERLESS, Workload(0, 0, 0, 0))
    assert busy == pytest.approx(2 * 0.0023)


@pytest.mark.parametrize("other", [NODE, SERVERLESS])
def test_at_the_break_even_both_cost_the_same(other: object) -> None:
    assert isinstance(STANDARD, ObjectStore)
    load = Workload(10**6, 10_240, 20, 1)
    rate = break_even_gets_s(STANDARD, other, load)  # type: ignore[arg-type]
    there = Workload(10**6, 10_240, rate, rate / 20)
    assert month(STANDARD, there) == pytest.approx(month(other, load))  # type: ignore[arg-type]
