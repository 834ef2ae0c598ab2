"""Error details, Any and Duration.

Written by `make proto`: change proto/*.proto instead.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, final
from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import Message

@final
class Any(Message):
    """`Any` contains an arbitrary serialized protocol buffer message along with a URL that describes the type of the
    serialized message. Protobuf library provides support to pack/unpack Any values in the form of utility
    functions or additional generated methods of the Any type. Example 1: Pack and unpack a message in C++. Foo
    foo = ...; Any any; any.PackFrom(foo); ... if (any.UnpackTo(&foo)) { ... } Example 2: Pack and unpack a
    message in Java. Foo foo = ...; Any any = Any.pack(foo); ... if (any.is(Foo.class)) { foo =
    any.unpack(Foo.class); } // or ... if (any.isSameTypeAs(Foo.getDefaultInstance())) { foo =
    any.unpack(Foo.getDefaultInstance()); } Example 3: Pack and unpack a message in Python. foo = Foo(...) any =
    Any() any.Pack(foo) ... if any.Is(Foo.DESCRIPTOR): any.Unpack(foo) ... Example 4: Pack and unpack a message in
    Go foo := &pb.Foo{...} any, err := anypb.New(foo) if err != nil { ... } ... foo := &pb.Foo{} if err :=
    any.UnmarshalTo(foo); err != nil { ... } The pack methods provided by protobuf library will by default use
    'type.googleapis.com/full.type.name' as the type URL and the unpack methods only use the fully qualified type
    name after the last '/' in the type URL, for example "foo.bar.com/x/y.z" will yield type name "y.z". JSON ====
    The JSON representation of an `Any` value uses the regular representation of the deserialized, embedded
    message, with an additional field `@type` which contains the type URL. Example: package google.profile;
    message Person { string first_name = 1; string last_name = 2; } { "@type":
    "type.googleapis.com/google.profile.Person", "firstName": <string>, "lastName": <string> } If the embedded
    message type is well-known and has a custom JSON representation, that representation will be embedded adding a
    field `value` which holds the custom JSON in addition to the `@type` field. Example (for message
    [google.protobuf.Duration][]): { "@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.212s" }
    """

    type_url: str
    """A URL/resource name that uniquely identifies the type of the serialized protocol buffer message. This string
    must contain at least one "/" character. The last segment of the URL's path must represent the fully qualified
    name of the type (as in `path/google.protobuf.Duration`). The name should be in a canonical form (e.g.,
    leading "." is not accepted). In practice, teams usually precompile into the binary all types that they expect
    it to use in the context of Any. However, for URLs which use the scheme `http`, `https`, or no scheme, one can
    optionally set up a type server that maps type URLs to message definitions as follows: * If no scheme is
    provided, `https` is assumed. * An HTTP GET on the URL must yield a [google.protobuf.Type][] value in binary
    format, or produce an error. * Applications are allowed to cache lookup results based on the URL, or have them
    precompiled into a binary to avoid any lookup. Therefore, binary compatibility needs to be preserved on
    changes to types. (Use versioned type names to manage breaking changes.) Note: this functionality is not
    currently available in the official protobuf release, and it is not used for type URLs beginning with
    type.googleapis.com. As of May 2023, there are no widely used type server implementations and no plans to
    implement one. Schemes other than `http`, `https` (or the empty scheme) might be used with implementation
    specific semantics.
    """
    value: bytes
    """Must be a valid serialized protocol buffer of the above specified type."""
    def __init__(
        self,
        *,
        type_url: str = ...,
        value: bytes = ...,
    ) -> None: ...

@final
class Status(Message):
    code: int
    """The gRPC status code; the same as in the trailer grpc-status."""
    message: str
    """For people; the same as in the trailer grpc-message."""
    @property
    def details(self) -> RepeatedCompositeFieldContainer[Any]: ...
    def __init__(
        self,
        *,
        code: int = ...,
        message: str = ...,
        details: Iterable[Any] | None = ...,
    ) -> None: ...

@final
class Duration(Message):
    """A Duration represents a signed, fixed-length span of time represented as a count of seconds and fractions of
    seconds at nanosecond resolution. It is independent of any calendar and concepts like "day" or "month". It is
    related to Timestamp in that the difference between two Timestamp values is a Duration and it can be added or
    subtracted from a Timestamp. Range is approximately +-10,000 years. # Examples Example 1: Compute Duration
    from two Timestamps in pseudo code. Timestamp start = ...; Timestamp end = ...; Duration duration = ...;
    duration.seconds = end.seconds - start.seconds; duration.nanos = end.nanos - start.nanos; if (duration.seconds
    < 0 && duration.nanos > 0) { duration.seconds += 1; duration.nanos -= 1000000000; } else if (duration.seconds
    > 0 && duration.nanos < 0) { duration.seconds -= 1; duration.nanos += 1000000000; } Example 2: Compute
    Timestamp from Timestamp + Duration in pseudo code. Timestamp start = ...; Duration duration = ...; Timestamp
    end = ...; end.seconds = start.seconds + duration.seconds; end.nanos = start.nanos + duration.nanos; if
    (end.nanos < 0) { end.seconds -= 1; end.nanos += 1000000000; } else if (end.nanos >= 1000000000) { end.seconds
    += 1; end.nanos -= 1000000000; } Example 3: Compute Duration from datetime.timedelta in Python. td =
    datetime.timedelta(days=3, minutes=10) duration = Duration() duration.FromTimedelta(td) # JSON Mapping In JSON
    format, the Duration type is encoded as a string rather than an object, where the string ends in the suffix
    "s" (indicating seconds) and is preceded by the number of seconds, with nanoseconds expressed as fractional
    seconds. For example, 3 seconds with 0 nanoseconds should be encoded in JSON format as "3s", while 3 seconds
    and 1 nanosecond should be expressed in JSON format as "3.000000001s", and 3 seconds and 1 microsecond should
    be expressed in JSON format as "3.000001s".
    """

    seconds: int
    """Signed seconds of the span of time. Must be from -315,576,000,000 to +315,576,000,000 inclusive. Note: these
    bounds are computed from: 60 sec/min * 60 min/hr * 24 hr/day * 365.25 days/year * 10000 years
    """
    nanos: int
    """Signed fractions of a second at nanosecond resolution of the span of time. Durations less than one second are
    represented with a 0 `seconds` field and a positive or negative `nanos` field. For durations of one second or
    more, a non-zero value for the `nanos` field must be of the same sign as the `seconds` field. Must be from
    -999,999,999 to +999,999,999 inclusive.
    """
    def __init__(
        self,
        *,
        seconds: int = ...,
        nanos: int = ...,
    ) -> None: ...

@final
class RetryInfo(Message):
    """When to come back: sent with RESOURCE_EXHAUSTED."""

    @property
    def retry_delay(self) -> Duration: ...
    def __init__(
        self,
        *,
        retry_delay: Duration | None = ...,
    ) -> None: ...
    def HasField(self, field_name: Literal["retry_delay"]) -> bool: ...

@final
class BadRequest(Message):
    """Which fields of a request are wrong: sent with INVALID_ARGUMENT."""

    @final
    class FieldViolation(Message):
        field: str
        """Path of the field in the request, such as "inputs[0].shape"."""
        description: str
        """What was expected, what came, and how to mend it."""
        def __init__(
            self,
            *,
            field: str = ...,
            description: str = ...,
        ) -> None: ...

    @property
    def field_violations(self) -> RepeatedCompositeFieldContainer[BadRequest.FieldViolation]: ...
    def __init__(
        self,
        *,
        field_violations: Iterable[BadRequest.FieldViolation] | None = ...,
    ) -> None: ...
