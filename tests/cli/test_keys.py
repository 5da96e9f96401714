"""`segnet keys`: a key is shown once, its hash is kept, and what is shown opens the door."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.api_keys import KeysError, read_keys
from cli.keys import app


def segnet_keys(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False, env=env)


def test_the_key_alone_goes_to_stdout_and_its_hash_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    result = segnet_keys("new", "line-1", "--scope", "predict", "--scope", "metrics", "--file", path)
    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    (key,) = read_keys(path).keys
    assert read_keys(path).find(secret) == key
    assert (key.name, key.scopes) == ("line-1", {"predict", "metrics"})
    assert secret not in path.read_text()
    assert secret not in result.stderr
    assert "added line-1 (metrics, predict)" in result.stderr


def test_the_file_comes_from_the_environment_too(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    segnet_keys("new", "a", "--scope", "admin", env={"SEGNET_KEYS_FILE": str(path)})
    assert [key.name for key in read_keys(path).keys] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "--scope", "predcit"), "scope 'predcit': expected predict, admin, metrics"),
        (("a b", "--scope", "predict"), "key name 'a b'"),
        (("taken", "--scope", "predict"), "key taken stands there twice"),
    ],
)
def test_a_refused_key_leaves_the_file_as_it_was(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    path = tmp_path / "keys.txt"
    segnet_keys("new", "taken", "--scope", "predict", "--file", path)
    before = path.read_text()
    with pytest.raises(KeysError, match=message):
        segnet_keys("new", *arguments, "--file", path)
    assert path.read_text() == before


def test_a_key_without_a_scope_is_not_made(tmp_path: Path) -> None:
    result = segnet_keys("new", "a", "--file", tmp_path / "keys.txt")
    assert result.exit_code == 2
    assert not (tmp_path / "keys.txt").exists()


def test_list_shows_names_and_scopes_and_no_hash(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    segnet_keys("new", "line-1", "--scope", "predict", "--scope", "metrics", "--file", path)
    segnet_keys("new", "boss", "--scope", "admin", "--file", path)
    assert segnet_keys("list", "--file", path).stdout == "line-1  metrics, predict\nboss  admin\n"
