"""Names of clients: which type one has, and its one spelling."""

from __future__ import annotations

import pytest

from inferd.names import parse_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dns:Batch.Example", "dns:batch.example"),
        ("DNS:batch", "dns:batch"),
        ("uri:spiffe://Example/Web", "uri:spiffe://Example/Web"),
        ("ip:2001:DB8:0::1", "ip:2001:db8::1"),
        ("email:Who@B.example", "email:Who@B.example"),
        ("cn:Some Person", "cn:Some Person"),
        ("cn:batch.example", "cn:batch.example"),
        ("cn:dns:x", "cn:dns:x"),
        # Without a type: what it looks like, never a common name.
        ("Batch.Example", "dns:batch.example"),
        ("*.batch.example", "dns:*.batch.example"),
        ("batch_1", "dns:batch_1"),
        ("10.0.0.1", "ip:10.0.0.1"),
        ("FE80::0:1", "ip:fe80::1"),
        ("spiffe://Example/Web", "uri:spiffe://Example/Web"),
        ("urn:uuid:1", "uri:urn:uuid:1"),
        ("who@b.example", "email:who@b.example"),
    ],
)
def test_a_name_has_one_type_and_one_spelling(text: str, name: str) -> None:
    assert parse_name(text) == name == parse_name(name)


@pytest.mark.parametrize(
    "text",
    ["Some Person", "dns:", "cn: ", "dns:a b", "ip:batch", "ip:10.0.0.256", "dsn:batch", "a:b", "\u212aiosk.internal", "cn:a\0b", "@", "."],
)
def test_a_name_of_no_type_is_an_error_with_the_cure(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected names such as dns:batch.example, .* or cn:Some Name, got ") as caught:
        parse_name(text)
    assert ("; cn:Some Person is a common name" in str(caught.value)) == (text == "Some Person")
