"""Folders that were signed, were changed afterwards, or never were, by OpenSSF's own library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inferd.engine.files.places import find_places
from inferd.engine.files.signature import check_signature
from inferd.errors import ConfigError
from tests import models
from tests.server_fixtures import ServerFixture
from tests.wire import Caller


def written_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A private key's file, and its public one's."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    pem = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.repository(tmp_path / "models", {"add": models.add()}) / "add"


def sign(folder: Path, by: str, **keys: Any) -> None:
    """As `python -m model_signing sign --signature FOLDER/model.sig FOLDER` does."""
    from model_signing import hashing, signing  # half a second, which other files' processes need not take

    signature = folder / "model.sig"
    config = getattr(signing.Config(), f"use_{by}_signer")(**keys)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature])).sign(folder, signature)


def check(folder: Path, key: Path) -> None:
    (place,), _ = find_places([folder])
    check_signature(place, str(key))


def test_a_folder_that_was_changed_after_it_was_signed_is_rejected(folder: Path, tmp_path: Path) -> None:
    private, public = written_key(tmp_path, "ours")
    sign(folder, "elliptic_key", private_key=private)
    folder = folder.rename(tmp_path / "add")
    check(folder, public)
    ours = (folder / "model.sig").read_text()
    other, theirs = written_key(tmp_path, "theirs")
    with pytest.raises(ConfigError, match=r"model 'add': its model.sig does not hold: Key mismatch"):
        check(folder, theirs)
    sign(folder, "elliptic_key", private_key=other)
    forged = json.loads(ours)
    forged["dsseEnvelope"] = json.loads((folder / "model.sig").read_text())["dsseEnvelope"]
    (folder / "model.sig").write_text(json.dumps(forged))
    with pytest.raises(ConfigError, match=r"model 'add': its model.sig does not hold: it was not made with the key of '.*ours.pub'"):
        check(folder, public)
    (folder / "model.sig").write_text(ours)
    (folder / "extra").touch()
    with pytest.raises(ConfigError, match="Extra files found in model 'add': extra"):
        check(folder, public)
    (folder / "extra").unlink()
    (folder / "1" / "model.onnx").write_bytes(models.identity())
    with pytest.raises(ConfigError, match=r"does not hold: [^:]*: \[\"Hash mismatch for '1/model.onnx'; restore the folder"):
        check(folder, public)
    (folder / "model.sig").write_text("{}")
    with pytest.raises(ConfigError, match=r"model 'add': its model.sig does not hold"):
        check(folder, public)
    with pytest.raises(ConfigError, match=r"require_signature: expected a public key or certificates in PEM in '.*/model.sig'"):
        check(folder, folder / "model.sig")


def test_a_folder_that_was_signed_for_another_model_is_rejected(folder: Path, tmp_path: Path) -> None:
    private, public = written_key(tmp_path, "ours")
    sign(folder, "elliptic_key", private_key=private)
    check(folder, public)
    folder = folder.rename(tmp_path / "fraud")
    with pytest.raises(ConfigError, match=r"model 'fraud': its model.sig was made for the model 'add'"):
        check(folder, public)
    (folder / "model.sig").unlink()
    sign(folder, "elliptic_key", private_key=private)
    check(folder, public)


def test_a_version_under_another_number_is_rejected(folder: Path, tmp_path: Path) -> None:
    private, public = written_key(tmp_path, "ours")
    sign(folder, "elliptic_key", private_key=private)
    (folder / "1").rename(folder / "2")
    with pytest.raises(ConfigError, match=r"model 'add': its model.sig does not hold"):
        check(folder, public)


def test_certificates_of_an_authority_are_enough(folder: Path, tmp_path: Path) -> None:
    def signed_by(authority: trustme.CA) -> Path:
        leaf = authority.issue_cert("models.example", key_type=trustme.KeyType.ECDSA)
        key, chain, roots = tmp_path / "leaf.key", tmp_path / "leaf.pem", tmp_path / "roots.pem"
        leaf.private_key_pem.write_to_path(key)
        leaf.cert_chain_pems[0].write_to_path(chain)
        authority.cert_pem.write_to_path(roots)
        sign(folder, "certificate", private_key=key, signing_certificate=chain, certificate_chain=[roots])
        return roots

    ours = trustme.CA(key_type=trustme.KeyType.ECDSA)
    roots = signed_by(ours)
    check(folder, roots)
    signed_by(trustme.CA(key_type=trustme.KeyType.ECDSA))
    ours.cert_pem.write_to_path(roots)
    with pytest.raises(ConfigError, match=r"its model.sig does not hold"):
        check(folder, roots)


def test_what_is_not_signed_is_not_loaded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, public = written_key(tmp_path, "ours")
    with pytest.raises(ConfigError, match=r"model 'add': there is no model.sig in its folder"):
        check(folder, public)
    with pytest.raises(ConfigError, match=r"model 'model': it is one file, and require_signature wants a folder"):
        check(folder / "1" / "model.onnx", public)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ConfigError, match=r"model-signing is not installed \(.*\): pip install 'inferd\[signing\]'"):
        check(folder, public)


def test_a_server_skips_what_is_not_signed(folder: Path, tmp_path: Path) -> None:
    private, public = written_key(tmp_path, "ours")
    models.repository(folder.parent, {"unsigned": models.add()})
    sign(folder, "elliptic_key", private_key=private)
    with ServerFixture(folder.parent, require_signature=str(public)) as server, Caller(server.address) as caller:
        index = {entry.name: entry.state for entry in caller.ask("RepositoryIndex").models}
    assert index == {"add": "READY", "unsigned": "UNAVAILABLE"}
