"""The example: its physics, its pictures, its pages, and the demo as a whole."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from example_project import demo, ising, parts, plots

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"ISING_EFFORT": "0.02"}
TC = ising.CRITICAL_TEMPERATURE


# Physics


def test_exact_solution_has_its_known_values() -> None:
    assert pytest.approx(2.269185314) == TC
    assert ising.exact_energy(TC) == pytest.approx(-np.sqrt(2.0), abs=1e-6)
    assert ising.exact_energy(0.3) == pytest.approx(-2.0, abs=1e-6)
    assert ising.exact_energy(2.0) == pytest.approx(-1.745564575, abs=1e-8)
    assert ising.exact_energy(1000.0) == pytest.approx(-2.0 / 1000.0, rel=1e-3)
    assert ising.exact_magnetisation(2.0) == pytest.approx(0.911319378, abs=1e-8)
    assert ising.exact_magnetisation(1.0) == pytest.approx(0.999275737, abs=1e-6)
    assert ising.exact_magnetisation(TC) == ising.exact_magnetisation(3.0) == 0.0


@pytest.mark.parametrize("temperature", [1.0, 2.0, 2.26, 2.4, 4.0])
def test_exact_heat_is_the_slope_of_the_exact_energy(temperature: float) -> None:
    step = 1e-5
    slope = (ising.exact_energy(temperature + step) - ising.exact_energy(temperature - step)) / (2 * step)
    assert ising.exact_heat(temperature) == pytest.approx(slope, rel=1e-4)


def test_lattice_counts_every_bond_once_and_pictures_it_rightly() -> None:
    lattices = ising.Lattices(3, 8, seed=1)
    assert lattices.energy() == pytest.approx([-2.0] * 3)
    lattices.spins[:] = np.random.default_rng(2).choice(np.array([-1, 1], dtype=np.int8), lattices.spins.shape)
    for i in range(3):
        spins = 2 * lattices.picture(i).astype(int) - 1
        bonds = (spins * np.roll(spins, 1, 0)).sum() + (spins * np.roll(spins, 1, 1)).sum()
        assert lattices.energy()[i] == pytest.approx(-bonds / 64)
        assert lattices.magnetisation()[i] == pytest.approx(spins.mean())


@pytest.mark.parametrize("side", [0, 2, 5])
def test_lattice_refuses_sides_without_a_checkerboard(side: int) -> None:
    with pytest.raises(ValueError, match="even number"):
        ising.Lattices(1, side, seed=1)


@pytest.mark.parametrize("field", [0.0, 0.25])
def test_sampling_agrees_with_the_sum_over_all_states(field: float) -> None:
    temperature, side = 2.5, 4
    states = 2 * ((np.arange(1 << 16)[:, None] >> np.arange(16)) & 1).reshape(-1, side, side) - 1
    energy = -(states * (np.roll(states, 1, 1) + np.roll(states, 1, 2))).sum(axis=(1, 2))
    total = states.sum(axis=(1, 2))
    weight = np.exp(-(energy - field * total) / temperature)
    weight /= weight.sum()

    lattices = ising.Lattices(512, side, seed=3)
    energies, magnetisations = [], []
    for sweep in range(400):
        lattices.sweep(np.full(512, 1.0 / temperature), field)
        if sweep >= 100:
            energies.append(lattices.energy())
            magnetisations.append(lattices.magnetisation())
    for seen, exact in ((energies, energy), (np.abs(magnetisations), abs(total))):
        chains = np.mean(seen, axis=0)
        error = chains.std() / np.sqrt(512)
        assert chains.mean() == pytest.approx((weight * exact).sum() / 16, abs=4 * error)
        assert error < 0.01


@pytest.mark.parametrize("temperature", [1.5, 2.0, 3.0, 4.0])
def test_replica_agrees_with_the_exact_solution(temperature: float) -> None:
    seen = ising.replica(temperature, side=32, chains=16, sweeps=600)
    assert seen.energy == pytest.approx(ising.exact_energy(temperature), abs=4 * seen.energy_error)
    assert seen.heat == pytest.approx(ising.exact_heat(temperature), abs=4 * seen.heat_error)
    assert seen.energy_error < 0.005
    if temperature < TC:
        assert seen.magnetisation == pytest.approx(
            ising.exact_magnetisation(temperature), abs=4 * seen.magnetisation_error
        )


def test_replica_is_ordered_in_the_cold_and_not_in_the_heat() -> None:
    cold, hot = (ising.replica(t, side=32, chains=4, sweeps=200) for t in (1.0, 6.0))
    assert cold.magnetisation > 0.99
    assert hot.magnetisation < 0.08
    assert cold.picture().mean() > 0.95
    assert 0.35 < hot.picture().mean() < 0.65


def test_replica_is_fixed_by_its_seed_and_small() -> None:
    one, same, other = (ising.replica(2.3, side=8, chains=2, sweeps=40, seed=s) for s in (5, 5, 6))
    assert one == same != other
    assert pickle.loads(pickle.dumps(one)) == one
    assert len(pickle.dumps(ising.replica(2.3, side=64, chains=2, sweeps=10))) < 1000


def test_exchange_finds_both_branches_and_the_exact_energies() -> None:
    result = ising.exchange([1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0], side=16, sweeps=1500)
    assert 0.2 < result.accepted < 0.9
    assert result.energies.shape == result.magnetisations.shape == (8, 600)
    assert result.energies[0].mean() == pytest.approx(ising.exact_energy(1.6), abs=0.01)
    assert result.energies[-1].mean() == pytest.approx(ising.exact_energy(3.0), abs=0.02)
    assert min(result.magnetisations[0]) < -0.9 < 0.9 < max(result.magnetisations[0])
    assert (np.diff(result.energies.mean(axis=1)) > 0).all()


def test_hysteresis_remembers_below_the_critical_temperature_only() -> None:
    cold, warm, hot = ising.hysteresis([1.2, 1.8, 5.0], side=32, steps=40, sweeps=4, copies=2)
    assert cold.area > 1.5 * warm.area > 0.5
    assert abs(hot.area) < 0.15
    assert (cold.down[0], cold.down[-1]) == pytest.approx((-1.0, 1.0), abs=0.01)
    middle = len(cold.fields) // 2
    assert cold.fields[middle] == pytest.approx(0.0)
    assert cold.up[middle] < -0.9 < 0.9 < cold.down[middle]


# Pictures


@pytest.fixture(scope="module")
def pictures() -> list[str]:
    replicas = [ising.replica(t, side=8, chains=2, sweeps=20) for t in (1.6, 2.0, 2.2, 2.4, 2.8, 3.2)]
    return [
        plots.energy_against_magnetisation(ising.exchange([1.5, 2.5, 3.5], side=8, sweeps=20)),
        plots.hysteresis_loops(ising.hysteresis([1.0, 4.0], side=8, steps=10, sweeps=1, copies=1)),
        *plots.thermodynamics(replicas),
    ]


def test_pictures_are_well_formed_and_follow_the_mode_of_the_reader(pictures: list[str]) -> None:
    assert len(pictures) == 6
    for svg in pictures:
        root = ET.fromstring(svg)
        assert root.get("aria-label")
        assert "prefers-color-scheme:dark" in svg
        assert not re.search(r"\b(nan|inf)\b", re.sub(">[^<]*<", "><", svg))
    for svg in pictures[:5]:
        labels = [text.text for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
        assert "\N{MINUS SIGN}1.0" in labels or "1.0" in labels or "1" in labels
        assert len(labels) > 8


def test_snapshot_draws_every_spin_that_is_up() -> None:
    up = np.random.default_rng(1).random((16, 16)) < 0.5
    drawn = np.zeros_like(up)
    for x, y, length in re.findall(r"M(\d+) (\d+)\.5h(\d+)", plots._runs(up)):
        drawn[int(y), int(x) : int(x) + int(length)] = True
    assert (drawn == up).all()


def test_ramp_goes_from_cold_to_hot_and_stays_inside() -> None:
    assert plots.ramp(0) == plots.ramp(-1) == "#2b6cee"
    assert plots.ramp(1) == plots.ramp(2) == "#f0a020"


# Pages


VISIT = """
import json

if __name__ == "__main__":  # the processes that compute import this file too
    import django
    from django.test import Client
    from django.test.utils import setup_test_environment
    from example_project.flask_app import app

    django.setup()
    setup_test_environment()
    clients = {"django": Client(), "flask": app.test_client()}
    seen = []
    for site, path in json.loads(input()):
        response = clients[site].get(path)
        body = response.getvalue() if site == "django" else response.data
        seen.append([response.status_code, dict(response.headers), body.decode()])
    print(json.dumps(seen))
"""


def visit(tmp_path: Path, pages: list[tuple[str, str]], **env: str) -> list[tuple[int, dict[str, str], str]]:
    """Visit pages of both sites in a process of their own, which computes in others."""
    script = tmp_path / "visit.py"
    script.write_text(VISIT)
    done = subprocess.run(
        [sys.executable, script],
        input=json.dumps(pages),
        env={
            **os.environ,
            **QUICK,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "example_project.settings",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(status, headers, body) for status, headers, body in json.loads(done.stdout)]


def told(body: str) -> str:
    """What a page says that this visit cost, without the time and the requests to S3."""
    line = r'<p class="told (\w+)"><b>.*? in [\d.]+ m?s</b> <span class="asked">.*?</span>(?: <span>(.*?)</span>)?</p>'
    found = re.findall(line, body)
    assert len(found) == 1
    return ": ".join(filter(None, found[0]))


def test_pages_are_computed_once_and_say_so(tmp_path: Path) -> None:
    twice = [("django", path) for path in ("/energy/", "/hysteresis/", "/replicas/") for _ in range(2)]
    rest = [("flask", "/"), ("django", "/replicas/fine/"), ("flask", "/")]
    seen = visit(tmp_path, [("flask", "/"), *twice, *rest])
    nothing_yet, pages, fine = seen[0], seen[1:7], seen[7:]
    assert nothing_yet[0] == 404
    assert "nothing to show yet" in nothing_yet[2]
    for (_, headers, first), (status, again, second) in zip(pages[::2], pages[1::2], strict=True):
        assert status == 200
        assert told(first).startswith("computed")
        assert told(second).startswith("cached")
        assert headers["Server-Timing"].startswith("compute;dur=")
        assert again["Server-Timing"].startswith("total;dur=")
        assert headers["Cache-Control"] == again["Cache-Control"] == "no-store"
        assert re.findall("<svg.*</svg>", first) == re.findall("<svg.*</svg>", second)
    assert told(pages[4][2]) == "computed: 9 temperatures: 0 from the cache, 9 computed"
    assert told(pages[5][2]) == "cached: 9 temperatures: 9 from the cache, 0 computed"
    assert told(fine[1][2]) == "computed: 17 temperatures: 9 from the cache, 8 computed"
    assert [told(fine[i][2]) for i in (0, 2)] == [f"cached: {n} temperatures, computed by Django" for n in (9, 17)]
    # Flask draws what Django drew.
    assert re.findall("<svg.*</svg>", fine[0][2]) == re.findall("<svg.*</svg>", pages[4][2])
    assert re.findall("<svg.*</svg>", fine[2][2]) == re.findall("<svg.*</svg>", fine[1][2])


def test_other_pages_and_the_way_between_the_sites(tmp_path: Path) -> None:
    pages = [("django", "/"), ("django", "/style.css"), ("flask", "/style.css"), ("django", "/flask/"), ("flask", "/")]
    address = {"FLASK_ADDRESS": "http://127.0.0.1:1", "DJANGO_ADDRESS": "http://127.0.0.1:2"}
    index, style, same, redirect, flask = visit(tmp_path, pages, **address)
    assert "memory://example" in index[2]
    assert "Server-Timing" in index[1]
    assert style[2] == same[2]
    assert "prefers-color-scheme: dark" in style[2]
    assert (redirect[0], redirect[1]["Location"]) == (302, "http://127.0.0.1:1")
    assert 'href="http://127.0.0.1:2/energy/"' in flask[2]


def test_a_bucket_needs_a_secret_key() -> None:
    env = {**os.environ, "CLOUDCACHED_URL": "s3://bucket/prefix", "SECRET_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", "import example_project.settings"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "SECRET_KEY is not set: the entries in a bucket are signed with it\n"


# The demo


def start(**env: str) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"CLOUDCACHED_URL", "SECRET_KEY"}}
    return subprocess.Popen(
        [sys.executable, "-m", "example_project.demo"],
        cwd=ROOT,
        env={**inherited, **QUICK, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(**env: str) -> tuple[int, str, str]:
    with start(ONCE="1", **env) as process:
        output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def table(output: str) -> dict[str, list[str]]:
    """The printed table: site and page, and the other columns."""
    edges = [0, 23, 36, 62, 88, None]
    lines = re.findall(r"^(?:Django|Flask) /.*", output, re.MULTILINE)
    cells = [[line[a:b].strip() for a, b in itertools.pairwise(edges)] for line in lines]
    return {first: rest for first, *rest in cells}


def answers(address: str) -> bool:
    host, port = address.removeprefix("http://").strip("/").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def check_gone(addresses: list[str]) -> None:
    for _ in range(200):
        if not any(map(answers, addresses)):
            return
        time.sleep(0.05)
    pytest.fail("a server has outlived the demo")


@pytest.fixture
def busy() -> Iterator[str]:
    """Give a port that somebody listens on; tests at the same time do not meet on 8000."""
    with parts.listen(0) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.slow
def test_demo_shows_what_two_visits_cost_and_steps_over_a_busy_port(busy: str) -> None:
    code, output, errors = run(PORT=busy)
    assert (code, errors) == (0, "")
    assert [re.sub(r"\s*[\d.]+ m?s$", "", cell) for row in table(output).values() for cell in row[1:3]] == [
        *["computed", "from the cache"] * 6,
        *["from the cache", "from the cache"],
    ]
    # What the design promises: cache_page reads two entries, get_many one for each key.
    assert [row[-1].split("then ")[1] for row in table(output).values()] == [
        *["5 GET", "2 GET", "1 GET", "9 GET", "17 GET", "17 GET", "17 GET"],
    ]
    assert table(output)["Django /replicas/fine/"][-1].startswith("17 GET, 8 PUT")
    addresses = re.findall(r"http://[\d.:]+", output)
    assert len(addresses) == 3
    assert f"http://{parts.HOST}:{busy}" not in addresses
    check_gone(addresses)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_demo_ends_with_all_its_servers(number: int, code: int) -> None:
    with start(PORT="0") as process:
        lines = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        addresses = re.findall(r"http://[\d.:]+", "".join(lines))
        assert all(map(answers, addresses))
        process.send_signal(number)
        killer = threading.Timer(20, process.kill)  # what does not end would be waited for without end
        killer.start()
        assert process.wait() == code
        killer.cancel()
        assert process.stderr.read() == ""
    assert len(addresses) == 3
    check_gone(addresses)
    for path in re.findall(r"Log +(/\S+)", "".join(lines)):
        assert not Path(path).exists() or number == signal.SIGKILL
        Path(path).unlink(missing_ok=True)


@pytest.mark.slow
def test_demo_uses_a_bucket_that_is_named_and_shares_it_with_later_runs(s3_url: str) -> None:
    for source in ("computed", "from the cache"):
        code, output, errors = run(CLOUDCACHED_URL=s3_url, SECRET_KEY="of both runs", PORT="0")
        assert (code, errors) == (0, "")
        assert f"Using {s3_url}\n" in output
        assert len(re.findall(r"http://[\d.:]+", output)) == 2
        assert "requests to S3" not in output
        assert table(output)["Django /replicas/"][1].startswith(source)


def test_demo_says_in_one_line_that_a_bucket_is_missing(s3_url: str) -> None:
    code, output, errors = run(CLOUDCACHED_URL="s3://cloudcached-there-is-no-such-bucket/prefix")
    assert (code, output) == (2, "")
    assert re.fullmatch(r"demo: s3://\S+ cannot be used: [^\n]*NoSuchBucket[^\n]*\n", errors)


@pytest.mark.slow  # for as long as the client tries
def test_demo_says_in_one_line_that_a_bucket_cannot_be_reached() -> None:
    with parts.listen(0) as listener:
        address = parts.address_of(listener)
    aws = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    code, output, errors = run(CLOUDCACHED_URL="s3://bucket/prefix", AWS_DEFAULT_REGION="us-east-1", **aws)
    assert (code, output) == (2, "")
    assert re.fullmatch(r"demo: s3://bucket/prefix cannot be used: [^\n]+\n", errors)


@pytest.mark.parametrize("url", ["memory://", "s3:bucket"])
def test_demo_refuses_what_is_no_bucket(url: str) -> None:
    code, output, errors = run(CLOUDCACHED_URL=url)
    assert (code, output) == (2, "")
    assert re.fullmatch(r"demo: [^\n]+\n", errors)


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_demo_refuses_what_is_no_port(port: str) -> None:
    code, output, errors = run(PORT=port)
    assert (code, output) == (1, "")
    assert errors == f"demo: PORT={port} is not a port: use a number from 0 (any) to 65535\n"


def test_demo_names_the_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(demo.PACKAGES, "no_such_module", "no-such-package[extra]")
    with pytest.raises(parts.Failure, match=r"pip install 'no-such-package\[extra\]'"):
        demo.check_packages()
