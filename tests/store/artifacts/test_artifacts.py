"""One contract on every place of artifacts; then what only a network can do wrong."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from kdopt.errors import ArtifactError
from kdopt.store.artifacts import Artifacts
from tests.s3 import S3


class PlainFiles(MemoryFileSystem):
    """A store where a file is seen while it is written, as over SFTP: half of it, say."""

    protocol = "plain"
    written: tuple[str, ...] = ()

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        PlainFiles.written += (path,)
        super().pipe_file(path, value[: len(value) // 2], mode, **kwargs)
        super().pipe_file(path, value, mode, **kwargs)


fsspec.register_implementation("plain", PlainFiles)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[S3]:
    pytest.importorskip("moto", reason="S3 IS NOT TESTED: pip install 'kdopt[dev]'")
    pytest.importorskip("s3fs", reason="S3 IS NOT TESTED: pip install 'kdopt[dev]'")
    server = S3()
    server.client.create_bucket(Bucket="bucket")
    yield server
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch) -> S3:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in endpoint.environment.items():
        monkeypatch.setenv(name, value)
    endpoint.forget()
    return endpoint


@pytest.fixture(params=["folder", "file", "memory", "plain", "s3"])
def place(request, tmp_path) -> str:
    """An empty place of artifacts."""
    if request.param == "folder":
        return str(tmp_path / "a")
    if request.param == "file":
        return f"file://{tmp_path}/a%20b"
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://bucket/{uuid.uuid4().hex}"
    return f"{request.param}://{uuid.uuid4().hex}/a"


@pytest.fixture
def bucket(s3) -> str:
    return f"s3://bucket/{uuid.uuid4().hex}"


def spoil(artifacts: Artifacts, sha256: str, content: bytes) -> None:
    """Change what lies there behind kdopt's back."""
    files, path = raw(str(artifacts.path(sha256)))
    files.pipe_file(path, content)


def raw(url: str):
    return fsspec.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)


def names(artifacts: Artifacts) -> list[str]:
    files, path = raw(str(artifacts.root))
    return [name.removeprefix(path).lstrip("/") for name in files.find(path)]


def refusal(call, *arguments) -> str:
    with pytest.raises(ArtifactError) as caught:
        call(*arguments)
    return str(caught.value)


def test_content_comes_back_by_its_hash(place):
    artifacts = Artifacts(place)
    sha256 = artifacts.put(b"weights")
    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert artifacts.get(sha256) == b"weights"
    assert artifacts.put(b"weights") == sha256
    assert names(artifacts) == [f"{sha256[:2]}/{sha256}.safetensors"]
    assert Artifacts(str(artifacts.root)).get(sha256) == b"weights"


def test_empty_content_is_content(place):
    artifacts = Artifacts(place)
    assert artifacts.get(artifacts.put(b"")) == b""


@pytest.mark.parametrize("damage", [b"weightz", b"weigh", b""])
def test_altered_content_is_refused_by_name_and_put_mends_it(place, damage):
    artifacts = Artifacts(place)
    sha256 = artifacts.put(b"weights")
    spoil(artifacts, sha256, damage)
    text = refusal(artifacts.get, sha256)
    assert f"artifact {artifacts.path(sha256)}: damaged or altered" in text
    assert hashlib.sha256(damage).hexdigest()[:12] in text
    Artifacts(place).put(b"weights")
    assert artifacts.get(sha256) == b"weights"


def test_what_is_missing_is_named(place):
    artifacts = Artifacts(place)
    assert not artifacts.has("a" * 64)
    text = refusal(artifacts.get, "a" * 64)
    assert f"artifact {artifacts.path('a' * 64)}: missing" in text
    assert "under a new name" in text


def test_discarded_content_is_gone(place):
    artifacts = Artifacts(place)
    sha256, other = artifacts.put(b"state 1"), artifacts.put(b"state 2")
    assert artifacts.has(sha256)
    for _ in range(2):
        artifacts.discard(sha256)
    assert not artifacts.has(sha256)
    assert artifacts.get(other) == b"state 2"


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "a" * 63, ""])
def test_only_hashes_are_names(place, name):
    artifacts = Artifacts(place)
    for call in (artifacts.get, artifacts.discard, artifacts.has, artifacts.path):
        assert "not a sha256" in refusal(call, name)


def test_writers_of_the_same_content_do_not_disturb_each_other(place):
    content = bytes(range(256)) * 4000
    start = threading.Barrier(6)

    def write_and_read(_: int) -> bool:
        artifacts = Artifacts(place)
        start.wait()
        return artifacts.get(artifacts.put(content)) == content

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(write_and_read, range(6)))
    assert len(names(Artifacts(place))) == 1


def test_where_puts_are_not_atomic_content_is_moved_into_place():
    artifacts = Artifacts("plain://moves")
    PlainFiles.written = ()
    sha256 = artifacts.put(b"weights")
    assert len(PlainFiles.written) == 1
    assert PlainFiles.written[0].endswith(".tmp")
    assert names(artifacts) == [f"{sha256[:2]}/{sha256}.safetensors"]


def test_a_write_that_fails_leaves_nothing_behind(monkeypatch):
    artifacts = Artifacts("plain://fails")

    def fail(*_, **__):
        raise PermissionError("no renaming here")

    monkeypatch.setattr(PlainFiles, "mv", fail)
    assert "no renaming here" in refusal(artifacts.put, b"weights")
    assert names(artifacts) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in refusal(Artifacts(tmp_path / "file").put, b"x")


def test_a_path_stays_where_it_was_when_the_working_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    artifacts = Artifacts("a")
    monkeypatch.chdir("/")
    assert artifacts.root == tmp_path / "a"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "cannot be read; give a folder"),
        ("s3:/bucket/x", "cannot be read; give a folder"),
        ("s3://", "s3://: names no bucket"),
        ("gs:///prefix", "names no bucket"),
        ("s3://KEY:ge/heim@bucket/x", "s3://***@bucket/x: credentials do not belong in the URL"),
        ("gs://geheim@bucket/x", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("sftp://user:geheim@host/x", "sftp://***@host/x: credentials do not belong"),
        ("s3://bucket/x?sig=geheim", "s3://bucket/x?***: a URL of artifacts has no query"),
        ("s3://bucket/x#geheim", "has no query and no fragment"),
        ("simplecache::s3://bucket/x", "not a plain URL"),
        ("nothing://x", "Protocol not known: nothing"),
        ("file://host/x", "write file:///PATH"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused_without_its_secrets(place, said):
    text = refusal(Artifacts, place)
    assert said in text
    assert "heim" not in text


@pytest.mark.parametrize(("protocol", "extra"), [("s3", "s3"), ("gs", "gcs")])
def test_a_missing_driver_says_what_to_install(protocol, extra, monkeypatch):
    def absent(*_, **__):
        raise ImportError(f"Install it to access {protocol}")

    monkeypatch.setattr(fsspec, "url_to_fs", absent)
    text = refusal(Artifacts, f"{protocol}://bucket/x")
    assert text.endswith(f"no driver for '{protocol}' is installed; pip install 'kdopt[{extra}]'")


def test_a_large_checkpoint_travels_once(s3, bucket):
    content = b"0123456789abcdef" * (45 * 2**20 // 16)
    artifacts = Artifacts(bucket)
    sha256 = artifacts.put(content)
    assert s3.count("PUT") == 1
    s3.forget()
    assert artifacts.get(sha256) == content
    assert (s3.count("GET"), len(s3.requests)) == (1, 1)
    s3.forget()
    Artifacts(bucket).put(content)
    assert [line.split()[0] for line in s3.requests] == ["HEAD"]


def test_a_bucket_that_is_not_there_is_named(s3):
    artifacts = Artifacts("s3://nowhere/x")
    text = refusal(artifacts.put, b"weights")
    assert text == (
        "artifacts s3://nowhere/x: cannot be written: no such bucket or folder "
        "(The specified bucket does not exist); make it or give another --artifacts"
    )
    assert "missing (The specified bucket does not exist)" in refusal(artifacts.get, "a" * 64)


def test_a_refusal_names_the_credentials_to_set_and_shows_none(s3, bucket):
    artifacts = Artifacts(bucket)
    sha256 = artifacts.put(b"weights")
    s3.client.put_bucket_policy(
        Bucket="bucket",
        Policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        '"Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::bucket/*"}]}',
    )
    try:
        texts = [refusal(artifacts.get, sha256), refusal(artifacts.put, b"more weights")]
    finally:
        s3.client.delete_bucket_policy(Bucket="bucket")
    for text in texts:
        assert "Access Denied" in text or "Forbidden" in text
        assert "allow these credentials to" in text
        assert "AWS_ACCESS_KEY_ID" in text
        assert "geheim" not in text
    assert f"artifact {bucket}/{sha256[:2]}/{sha256}" in texts[0]


def test_missing_credentials_are_said_at_once(s3, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    text = refusal(Artifacts(bucket).put, b"weights")
    assert "Unable to locate credentials; set AWS_ACCESS_KEY_ID" in text


def test_a_cut_network_is_waited_for(s3, bucket, caplog):
    artifacts = Artifacts(bucket)
    sha256 = artifacts.put(b"weights")
    s3.down()
    begin = time.monotonic()
    back = threading.Timer(1.5, s3.up)
    back.start()
    with caplog.at_level(logging.WARNING, "kdopt"):
        other = artifacts.put(b"other weights")
    assert time.monotonic() - begin > 1.2
    assert "trying again" in caplog.text
    back.join()
    assert artifacts.get(other) == b"other weights"
    s3.down()
    back = threading.Timer(1, s3.up)
    back.start()
    assert artifacts.get(sha256) == b"weights"
    back.join()


def test_an_answer_cut_in_the_middle_is_asked_for_again(s3, bucket):
    content = bytes(range(256)) * 8000
    artifacts = Artifacts(bucket)
    sha256 = artifacts.put(content)
    s3.cut_answers(2, after=500_000)
    s3.forget()
    assert artifacts.get(sha256) == content
    assert s3.count("GET") == 3


def test_a_network_that_stays_cut_is_an_error_in_time(s3, bucket, monkeypatch):
    monkeypatch.setattr("kdopt.store.remote_artifacts.REMOTE_RETRY_S", 1.0)
    artifacts = Artifacts(bucket)
    s3.down()
    try:
        begin = time.monotonic()
        texts = [refusal(artifacts.put, b"x"), refusal(artifacts.get, "a" * 64)]
        texts.append(refusal(artifacts.has, "a" * 64))
        artifacts.discard("a" * 64)  # harmless, so no error
        assert time.monotonic() - begin < 150  # and not for ever, on however busy a machine
    finally:
        s3.up()
    for text in texts:
        assert bucket in text
        assert "did not pass within 1 s: check the network and the endpoint" in text
        assert "geheim" not in text


def test_secrets_in_what_drivers_say_are_masked(monkeypatch):
    artifacts = Artifacts("memory://masked")

    def fail(*_, **__):
        raise ValueError("cannot reach https://me:geheim@host/x?X-Amz-Signature=geheim now")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    text = refusal(artifacts.get, "a" * 64)
    assert "cannot reach https://***@host/x?*** now" in text
