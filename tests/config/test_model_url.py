"""URLs that stand for models: which are taken, and how they are shown."""

from __future__ import annotations

import pytest

from inferd.config.model_url import check_url, is_url, without_secrets


@pytest.mark.parametrize("text", ["models", "./s3:/x", "C:\\models", "a:b", "//host/x"])
def test_a_path_is_no_url(text: str) -> None:
    assert not is_url(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("htps://host/a.onnx", "did you mean https://"),
        ("file:///models", "expected a path, or a URL of s3://"),
        ("s3:///models", "expected a bucket behind s3://"),
        ("az://", "expected a container behind az://"),
        ("s3://key:s3cret@bucket/models", "expected no user or password in a URL of s3://"),
        ("gs://bucket/models?token=s3cret", "expected nothing behind the path of a URL of gs://"),
        ("oci://registry", "expected oci://registry/repository:tag"),
        ("https://user:s3cret@host:port/x.onnx", "whose host or port cannot be read"),
    ],
)
def test_a_wrong_url_is_an_error_without_its_secrets(text: str, said: str) -> None:
    assert is_url(text)
    with pytest.raises(ValueError, match=said) as error:
        check_url(text)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("models/digits.onnx?x=1", "models/digits.onnx?x=1"),
        ("s3://bucket/models", "s3://bucket/models"),
        ("https://user:p%40ss@host/a.onnx", "https://host/a.onnx"),
        ("https://host/a.onnx?sig=1#x", "https://host/a.onnx?..."),
        ("error for url (https://u:p@h/x?sig=1): timed out", "error for url (https://h/x?...): timed out"),
        ("'https://h/a?b' and 'https://h/c?d'", "'https://h/a?...' and 'https://h/c?...'"),
        ("9http://u:p@h", "9http://h"),
        ("a" * (4 << 20), "a" * (4 << 20)),  # a store's own words: hours, were their length squared
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
