"""Whether a model's folder is what somebody who is trusted has signed, by OpenSSF model signing, whose one door this is.

Never in here: how models come to be on this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.engine.places import Place

__all__ = ["SIGNATURE_FILE", "check_signature"]

SIGNATURE_FILE = "model.sig"
MAX_SAID = 600  # characters of what the library says


def check_signature(place: Place, key: str) -> None:
    """key: a PEM file with a public key, or with certificates of authorities. Raises ConfigError that names what is wrong."""
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
    except Exception as error:  # of a dozen libraries behind it
        raise _rejected(place, _said(error)) from None


def _rejected(place: Place, why: str) -> ConfigError:
    return ConfigError(
        f"model {place.name!r}: its {SIGNATURE_FILE} does not hold: {why}; restore the folder as it was signed, or sign it again"
    )


def _said(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= MAX_SAID else words[:MAX_SAID] + "..."
