"""The command line: what it prints, its exit codes, and that errors are one line."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stub_store
from click.testing import CliRunner, Result
from stub_store import Stub

from cloudcached import Client
from cloudcached.__main__ import _without
from cloudcached.cli import command_line, main
from cloudcached.cli.output import show_table
from cloudcached.cli.target import Target

Run = Callable[..., Result]


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the URL of an empty cache, which the environment names too."""
    url = f"memory://{uuid.uuid4().hex}"
    monkeypatch.setenv("CLOUDCACHED_URL", url)
    monkeypatch.delenv("CLOUDCACHED_SIGNING_KEY", raising=False)
    return url


@pytest.fixture
def run(url: str) -> Run:
    """Give what runs one command."""

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(command_line, arguments, prog_name="cloudcached", **options)

    return run


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    with stub_store.running() as stub:
        for name, value in stub.env.items():
            monkeypatch.setenv(name, value)
        yield stub


def answered(result: Result) -> tuple[int, str, str]:
    return result.exit_code, result.stdout, result.stderr


# The doctor


def test_doctor_prints_tables(run: Run, stub: Stub) -> None:
    result = run("doctor", "--rounds", "1", "s3://stub/p", "--conditional-writes=probe")
    assert (result.exit_code, result.stderr) == (1, "")
    first, second, _, *lines = result.stdout.splitlines()
    assert first.startswith(f"s3://stub/p at {stub.endpoint} (stub")
    assert second == "transport: wire"
    assert "What holds there" in lines
    assert "holds        get            entries come back whole, a missing one is a miss" in lines
    assert "refused      incr           the store ignores conditions, so the client refuses it" in lines
    assert any(line.startswith("problem") and "ignored: answered 200 and wrote" in line for line in lines)
    advice = lines[lines.index("What to do") + 2 :]
    assert len(advice) == len({line.rpartition("  ")[2] for line in advice})
    assert stub.objects == {}


def test_doctor_prints_json(run: Run, stub: Stub) -> None:
    result = run("doctor", "--json", "--rounds=1", "s3://stub/p")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert {promise["operation"]: promise["state"] for promise in report["promises"]}["add"] == "best effort"
    assert (report["transport"], report["transport_reason"]) == ("wire", "")


def test_doctor_says_why_requests_go_by_boto3(run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    second = run("doctor", "--rounds=1", "s3://stub/p").stdout.splitlines()[1]
    assert second == "transport: boto3 (dual-stack endpoints are set)"


def test_doctor_where_all_holds(run: Run, s3_url: str) -> None:
    result = run("doctor", "--rounds", "1", s3_url)
    assert result.exit_code == ("best effort" in result.stdout)
    assert not any(line.startswith("refused") for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["doctor", "s3://missing"], 3, "Error: s3://missing: BucketMissing: "),
        (["doctor", "--timeout", "1", "s3://stub"], 3, "Error: s3://stub: StoreUnreachable: "),
        (["doctor"], 2, "Error: memory://"),
        (["doctor", "bucket/prefix"], 2, "Error: 'bucket/prefix' is not a cache URL"),
        (["doctor", "--rounds", "0", "s3://stub"], 2, "Error: rounds must be a whole number"),
        (["doctor", "--timeout", "-1", "s3://stub"], 2, "Error: timeout is a positive number"),
    ],
)
def test_doctor_fails_in_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    with stub_store.running() as stub:
        for name, value in stub.env.items():
            monkeypatch.setenv(name, value)
        if "s3://stub" in arguments:
            stub.server_close()
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(text)
    assert result.stderr.count("\n") == 1


def test_interrupted_doctor(run: Run, stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cloudcached.doctor.races.race_if_match", lambda rounds: interrupt)
    assert answered(run("doctor", "--rounds=1", "s3://stub/p")) == (130, "", "Error: interrupted\n")
    assert stub.objects == {}


# Which cache


def test_the_url_is_the_first_argument_or_the_environments(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"memory://{uuid.uuid4().hex}"
    Client(other).put("k", "there")
    Client(url).put("k", "here")
    assert run("get", "k").stdout == "here\n"
    assert run("get", other, "k").stdout == "there\n"
    assert json.loads(run("get", "--json", other, "k").stdout)["value"] == "there"
    assert run("put", "--expire", "1h", other, "new", "v").exit_code == 0
    assert Client(other).get("new") == "v"
    monkeypatch.delenv("CLOUDCACHED_URL")
    result = run("get", "k")
    assert result.exit_code == 2
    assert "CLOUDCACHED_URL" in result.stderr


def test_a_key_may_look_like_a_url(run: Run, url: str) -> None:
    assert run("put", url, "s3://bucket/x", "v").exit_code == 0
    assert Client(url).get("s3://bucket/x") == "v"
    assert run("get", "--", "s3://bucket/x").stdout == "v\n"


def test_the_signing_key_comes_from_the_environment(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDCACHED_SIGNING_KEY", "secret")
    assert run("put", "k", "v").exit_code == 0
    assert Client(url, signing_key="secret").get("k") == "v"
    assert Client(url).get("k") is None


def test_a_framework_names_the_cache(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = f"memory://{uuid.uuid4().hex}"
    options = {"signing_key": "secret", "fail_silently": True}
    Client(own, **options).put("s3://key", 1)
    with pytest.raises(SystemExit) as ended:
        main(["get", "s3://key"], url=own, options=options, prog_name="manage.py cloudcached")
    assert (ended.value.code, capsys.readouterr().out) == (0, "1\n")
    with pytest.raises(SystemExit):
        main(["get", "--help"], url=own, prog_name="manage.py cloudcached")
    assert capsys.readouterr().out.startswith("Usage: manage.py cloudcached get [OPTIONS] KEY\n")


# The commands on entries


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("text", "text\n"),
        ("naïve\n", "naïve\n\n"),
        (42, "42\n"),
        (None, "None\n"),
        ([1, "a"], "[1, 'a']\n"),
        ("", "\n"),
    ],
)
def test_get(run: Run, url: str, value: Any, printed: str) -> None:
    Client(url).put("k", value)
    assert answered(run("get", "k")) == (0, printed, "")


def test_get_of_bytes_is_exact(run: Run, url: str) -> None:
    Client(url).put("k", bytes(range(256)))
    assert run("get", "k").stdout_bytes == bytes(range(256))


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        ("text", "json", "text"),
        ({"a": [1, None]}, "json", {"a": [1, None]}),
        (b"\xff", "base64", "/w=="),
        ((1, 2), "repr", "(1, 2)"),
        (float("nan"), "repr", "nan"),
        (1j, "repr", "1j"),
    ],
)
def test_get_json(run: Run, url: str, value: Any, form: str, shown: Any) -> None:
    Client(url).put("k", value)
    found = json.loads(run("get", "k", "--json").stdout)
    assert (found["form"], found["value"], found["type"]) == (form, shown, type(value).__name__)


@pytest.mark.parametrize("verb", ["get", "get --file out", "ttl", "touch", "info", "rm --yes"])
def test_a_missing_entry_is_a_no(run: Run, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert answered(run(*verb.split(), "k")) == (1, "", "Error: there is no live entry under 'k'\n")


def test_put(run: Run, url: str) -> None:
    assert answered(run("put", "k", "first")) == (0, "", "")
    result = run("put", "k", "second")
    assert (result.exit_code, Client(url).get("k")) == (1, "first")
    assert "--replace" in result.stderr
    assert run("put", "k", "third", "--replace", "--expire", "never").exit_code == 0
    assert (Client(url).get("k"), Client(url).ttl("k")) == ("third", None)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("str", "5", "5"), ("int", "5", 5), ("float", "0.5", 0.5), ("bytes", "é", "é".encode()), ("json", "[1]", [1])],
)
def test_put_types(run: Run, url: str, kind: str, text: str, value: Any) -> None:
    assert run("put", "k", text, "--type", kind).exit_code == 0
    found = Client(url).get("k")
    assert (type(found), found) == (type(value), value)


def test_put_of_files(run: Run, url: str, tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\0\xff")
    assert run("put", "k", "--file", str(file)).exit_code == 0
    assert run("put", "stdin", "--file", "-", input=b"\xfe").exit_code == 0
    assert Client(url).get_many(["k", "stdin"]) == {"k": b"\0\xff", "stdin": b"\xfe"}
    file.write_bytes(b"[1]")
    assert run("put", "list", "--file", str(file), "--type", "json").exit_code == 0
    assert Client(url).get("list") == [1]
    assert run("put", "k", "--file", str(file)).exit_code == 1


def test_files_of_any_size(url: str, tmp_path: Path) -> None:
    """What is too large to be loaded goes from file to file."""
    target = Target(url, {"max_value_bytes": 1000}, fixed=True)

    def run(*arguments: str) -> tuple[int, str, str]:
        return answered(CliRunner().invoke(command_line, arguments, obj=target))

    file, copy = tmp_path / "file", tmp_path / "copy"
    file.write_bytes(b"x" * 10_000_000)
    assert run("put", "k", "--file", str(file)) == (0, "", "")
    code, out, text = run("get", "k")
    assert (code, out) == (2, "")
    assert "bytes; use --file to write it to a file" in text
    assert run("get", "k", "--file", str(copy)) == (0, "", "")
    assert copy.read_bytes() == file.read_bytes()
    code, _, text = run("get", "k", "--file", str(tmp_path / "no" / "folder"))
    assert code == 2
    assert "cannot be written: there is no directory" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["put", "k"], "VALUE or a --file"),
        (["put", "k", "v", "--file", "x"], "VALUE or a --file"),
        (["put", "k", "--file", "/does/not/exist"], "No such file"),
        (["put", "k", "v", "--type", "int"], "is not a valid int"),
        (["put", "k", "v", "--expire", "soon"], "is not a time"),
        (["get", "k" * 20_000], "at most 16,384"),
        (["get", "k", "--json", "--file", "x"], "--file or --json"),
    ],
)
def test_mistakes(run: Run, arguments: list[str], text: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert text in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("30d", 2592000)])
def test_times(run: Run, url: str, text: str, seconds: float) -> None:
    Client(url).put("k", 1)
    assert run("touch", "k", "--expire", text).exit_code == 0
    assert Client(url).ttl("k") == pytest.approx(seconds, abs=2)
    assert int(run("ttl", "k").stdout) == pytest.approx(seconds, abs=2)
    assert json.loads(run("ttl", "k", "--json").stdout)["ttl"] == pytest.approx(seconds, abs=2)


def test_ttl_of_what_never_expires(run: Run, url: str) -> None:
    Client(url).put("k", 1, None)
    assert run("ttl", "k").stdout == "never\n"
    assert json.loads(run("ttl", "k", "--json").stdout)["ttl"] is None


def test_ls(run: Run, url: str) -> None:
    Client(url).put_many({"page:1": 1, "page:2": "two", "other": 3, "odd\nkey": 4})
    assert sorted(run("ls").stdout.splitlines()) == ["odd\\nkey", "other", "page:1", "page:2"]
    assert sorted(run("ls", "page:*").stdout.splitlines()) == ["page:1", "page:2"]
    assert run("ls", "*:2").stdout == "page:2\n"
    assert run("ls", "other").stdout == "other\n"
    assert answered(run("ls", "nothing*")) == (0, "", "")
    assert sorted(json.loads(run("ls", "o*", "--json").stdout)) == ["odd\nkey", "other"]


def test_ls_long(run: Run, url: str) -> None:
    Client(url).put("k", 1, None)
    header, line = run("ls", "-l").stdout.splitlines()
    assert header.split() == ["type", "bytes", "expires", "key"]
    assert [*line.split()][0::2] == ["int", "never"]
    (found,) = json.loads(run("ls", "--long", "--json").stdout)
    assert (found["key"], found["type"], found["expires"]) == ("k", "int", "never")


def test_info(run: Run, url: str) -> None:
    Client(url).put("k", "v")
    found = json.loads(run("info", "k", "--json").stdout)
    assert (found["key"], found["type"], found["key_id"]) == ("k", "str", "none")
    assert f"etag        {found['etag']}" in run("info", "k").stdout


def test_stats(run: Run, url: str) -> None:
    empty = json.loads(run("stats", "--json").stdout)
    assert empty.pop("sample") == {"entries": 0, "types": {}, "expire": {}}
    assert empty == {"entries": 0, "bytes": 0, "oldest": None, "newest": None, "prefixes": []}
    cache = Client(url)
    cache.put_many({"a": 1, "b": 2})
    cache.lock("name").acquire()
    found = json.loads(run("stats", "--json").stdout)
    assert (found["entries"], found["bytes"] > 60) == (2, True)
    assert run("stats").stdout.splitlines()[1].split() == ["entries", "2"]


def test_a_store_that_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    for arguments in (["get", "k"], ["put", "k", "v"], ["ls"], ["clear", "--yes"], ["stats"]):
        verb, *rest = arguments
        result = run(verb, "s3://bucket", *rest)
        assert (result.exit_code, result.stdout) == (3, "")
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1


# Around


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show_table(("a", "b"), [("ok", "[red]x\x1b")], title="Title", styles={"ok": "green"})
    printed = capsys.readouterr().out
    assert "Title" in printed
    assert "[red]x\\x1b" in printed
    assert "│" in printed


def test_the_module_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "cloudcached", "--help"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("Usage: cloudcached [OPTIONS] COMMAND")
    assert "\n    130  interrupted\n" in run.stdout


def test_help_lists_exit_codes(run: Run) -> None:
    assert "\n    3  the store cannot be reached" in run("doctor", "--help").stdout


def test_a_missing_extra_is_one_line() -> None:
    script = (
        "import sys; sys.modules['rich'] = None\n"
        "import importlib.util as util; found = util.find_spec\n"
        "util.find_spec = lambda name, *_: None if name == 'rich' else found(name)\n"
        "import runpy; runpy.run_module('cloudcached', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == "cloudcached: the command line needs rich: pip install 'cloudcached[cli]'\n"


def test_several_missing_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert _without(["click", "rich"]) == 2
    assert "needs click and rich: pip install 'cloudcached[cli]'" in capsys.readouterr().err
