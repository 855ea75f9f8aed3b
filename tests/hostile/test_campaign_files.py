"""Campaign files and options: every odd one is refused on a page, with advice that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdopt.campaign.spec import load_spec
from kdopt.errors import KdoptError
from kdopt.typed import parse_duration
from tests.hostile.commands import kdopt, refused

PLAIN = 'name = "b\u00fccher"\n# na\u00efve \u20ac\n'
GOOD = 'name = "good"\nmodel = "mlp"\n[data]\nname = "digits"\n'
ADVICE = {
    "UTF-16": (PLAIN.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
    "UTF-16, the other way round": (
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        "it is UTF-16; save it as UTF-8",
    ),
    "UTF-16 without a mark": (PLAIN.encode("utf-16-le"), "UTF-16 or no text at all"),
    "UTF-32": (PLAIN.encode("utf-32"), "it is UTF-32; save it as UTF-8"),
    "Latin-1": (
        PLAIN.replace("\u20ac", "").encode("latin-1"),
        "line 1 is not UTF-8 (byte 0xfc, which is '\u00fc' in Latin-1",
    ),
    "Windows": (b"# \x80\n" + GOOD.encode(), "line 1 is not UTF-8 (byte 0x80, which is '\u20ac'"),
    "a later line": (GOOD.encode() + b"# \xe9", "line 5 is not UTF-8"),
    "gzip": (b"\x1f\x8b\x08\x00" + bytes(40), "it is gzip; save it as UTF-8"),
    "zip": (b"PK\x03\x04" + bytes(40), "it is a zip file"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "no text at all"),
    "too large": (b"#" * 1_000_001, "more than 1,000,000 bytes"),
    "deep lists": (b"a = " + b"[" * 100_000, "too deep"),
    "deep lists that end": (b"a = " + b"[" * 5000 + b"]" * 5000, "too deep"),
    "deep tables": (b"a = " + b"{a = " * 5000 + b"1" + b"}" * 5000, "too deep"),
    "deep keys": (b"[" + b"a." * 5000 + b"a]\n", ""),
    "deep dotted keys": (b"a." * 5000 + b"a = 1\n", ""),
    "a long key": (b"a" * 100_000 + b" = 1\n", "unknown key"),
    "a long value": (b'name = "' + b"x" * 100_000 + b'"\n', "name"),
    "a long number": (b"seed = " + b"9" * 100_000, ""),
    "many keys": (b"".join(b"k%d = 1\n" % n for n in range(20_000)), "... and"),
    "many tables": (b"".join(b"[t%d]\n" % n for n in range(20_000)), "... and"),
    "a long list": (b"stages = [" + b'"x",' * 20_000 + b"]", "... and"),
    "no TOML": (b"{" * 1000, "not valid TOML"),
    "escape codes": (b'name = "\\u001b[2J"\n', "name"),
    "a date": (b"name = 1979-05-27\n", "name"),
    "nothing": (b"", "missing"),
    "huge max_draws": (
        GOOD.encode() + b"[partition.label_dirichlet]\nmax_draws = 1000000000000\n",
        "max_draws",
    ),
    "huger max_draws": (
        GOOD.encode() + b"[partition.quantity_skew]\nmax_draws = 100001\n",
        "max_draws",
    ),
}


@pytest.mark.parametrize(("content", "advice"), ADVICE.values(), ids=ADVICE)
def test_a_file_that_is_none_is_refused_with_advice(
    tmp_path: Path, content: bytes, advice: str
) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(content)
    said = refused("spec", path)
    assert f"{path}" in said and advice in said
    assert all(c.isprintable() or c == "\n" for c in said)


def test_a_mark_at_the_beginning_is_no_part_of_the_file(tmp_path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "spec.toml").write_bytes(mark + GOOD.replace("\n", "\r\n").encode())
        assert load_spec(tmp_path / "spec.toml").campaign.name == "good"


@pytest.mark.parametrize("name", [".", "..", "/", "a/..", "x" * 300])
def test_a_name_that_a_campaign_file_cannot_have_is_refused(here: Path, name: str) -> None:
    said = refused("new", name)
    assert "file" in said or "cannot be written" in said or "is there already" in said


TIMES = ("90", "45s", "90m", "1.5h", "2d", "1h30m", "1h30m5s", "3650d", "0.5")
NO_TIMES = (
    "1h30", "1h 30m", "90 m", "1m30", "2d12", "1.5.5h", "1e9", "0x10", "9" * 400, "9" * 5000 + "d",
    "3651d", "0", "0h", "-1h", "+1h", "1H", "\u0663h", "inf", "nan", "", " ", "h", "1h\n", "1w",
    "1_000s", "\x1b[2J", "0.0s",
)  # fmt: skip


@pytest.mark.parametrize("text", TIMES)
def test_times_with_a_unit_for_each_number_are_read(text: str) -> None:
    assert parse_duration(text) > 0


@pytest.mark.parametrize("text", NO_TIMES, ids=lambda text: ascii(text[:10]))
def test_other_times_are_refused(here: Path, text: str) -> None:
    with pytest.raises(KdoptError, match="write it as 45s, 90m"):
        parse_duration(text)
    for command in (["status", "--every"], ["launch", "slurm", "--job-time"]):
        rule = "each number with its unit" if text.strip() else "an empty text is no value"
        assert rule in refused(*command, text)


LONG = "x" * 20_000
LONG_OPTIONS = [
    [LONG],
    ["status", LONG],
    ["status", f"--{LONG}"],
    ["status", "--campaign", LONG],
    ["status", "--store", LONG],
    ["status", "--store", f"sqlite:///{LONG}"],
    ["status", "--store", f"postgresql+{LONG}://h/db"],
    ["status", "--store", f"{LONG}://h/db"],
    ["doctor", "--campaign", LONG],
    ["report", LONG],
    ["report", f"tiny@{LONG}"],
    ["report", "--figures", LONG],
    ["merge", LONG],
    ["spec", LONG],
    ["plan", LONG],
    ["run", LONG],
    ["partitions", LONG],
    ["backup", "x", "--store", LONG],
    ["best", LONG],
    ["recommend", "--pair", LONG],
    ["recommend", "--feature", LONG],
    ["recommend", "--feature", f"{LONG}=1"],
    ["recommend", "--transfer-set", LONG],
    ["worker", "--time-limit", LONG],
    ["worker", "--device", LONG],
    ["launch", "ray", "--time-limit", LONG],
    ["dashboard", "--port", LONG],
    ["dashboard", "--host", LONG],
    ["dashboard", "--store", LONG],
    ["init", "--store", f"/dev/null/{LONG}"],
    ["retry-failed", "--campaign", LONG],
    ["features", "--campaign", LONG],
]


@pytest.mark.parametrize("command", LONG_OPTIONS, ids=lambda c: " ".join(c)[:30])
def test_a_long_argument_fits_on_a_page(here: Path, command: list[str]) -> None:
    ended = kdopt(*command)
    assert ended.code == 2 and "Traceback" not in ended.err, ended.err[:3000]
    assert len(ended.err.encode()) < 2500, ended.err[:3000]
