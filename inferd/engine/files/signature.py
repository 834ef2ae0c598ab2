"""Verifies that a trusted key has signed a model's folder, by OpenSSF model signing. Only this file imports that library.

Never in here: how models come to this machine.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.engine.files.places import Place

SIGNATURE_FILE = "model.sig"
NAMED_TYPE = "https://model_signing/signature/v1.0"  # predicates whose subject is the folder by its name
MAX_SAID = 600  # characters of the library's error
_HASHES = re.compile(r": Expected .*?(?=, [\"']Hash mismatch for|$)")  # Python's form of an object, which adds nothing to the file's name


def check_signature(place: Place, key: str) -> None:
    """Raises ConfigError if the folder's signature is not valid. key: a PEM file with a public key, or certificates of authorities."""
    try:
        from model_signing import verifying
    except ImportError as error:
        raise ConfigError(f"require_signature: model-signing is not installed ({error}): pip install 'inferd[signing]'") from None
    if place.folder is None:
        raise ConfigError(
            f"model {place.name!r}: it is one file, and require_signature wants a folder with {SIGNATURE_FILE}: put the file at "
            f"{place.name}/1/model.onnx and sign the folder {place.name}"
        )
    if not (signature := place.folder / SIGNATURE_FILE).is_file():
        raise ConfigError(
            f"model {place.name!r}: there is no {SIGNATURE_FILE} in its folder, and require_signature wants one: sign the folder, or "
            "remove the model"
        )
    from cryptography.exceptions import InvalidSignature

    config: Any = verifying.Config
    try:
        if b"BEGIN CERTIFICATE" in Path(key).read_bytes():
            verifier = config().use_certificate_verifier(certificate_chain=[key])
        else:
            verifier = config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:
        raise ConfigError(f"require_signature: expected a public key or certificates in PEM in '{key}': {_said(error)}") from None
    try:
        verifier.verify(place.folder, signature)
    except InvalidSignature:
        raise _rejected(place, f"it was not made with the key of '{key}'") from None
    except Exception as error:  # from one of the dozen libraries behind it
        raise _rejected(place, _said(error)) from None
    if (signed := _signed_name(signature)) != place.name:
        made_for = f"the model {signed!r}" if signed else "a folder without a name"
        raise ConfigError(
            f"model {place.name!r}: its {SIGNATURE_FILE} was made for {made_for}, and require_signature wants one for {place.name!r}: "
            f"serve what was signed for this model, or name the folder {place.name!r} and sign it again"
        )


def _signed_name(signature: Path) -> str:
    """The name of the folder that was signed; '' for an early form of signature without one. The caller has verified it."""
    try:
        payload = json.loads(base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"]))
        if payload["predicateType"] != NAMED_TYPE:
            return ""
        (subject,) = payload["subject"]
        return str(subject["name"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _rejected(place: Place, why: str) -> ConfigError:
    return ConfigError(
        f"model {place.name!r}: its {SIGNATURE_FILE} does not hold: {why}; restore the folder as it was signed, or sign it again"
    )


def _said(error: Exception) -> str:
    words = _HASHES.sub("", " ".join(str(error).split())) or type(error).__name__
    return words if len(words) <= MAX_SAID else words[:MAX_SAID] + "..."
