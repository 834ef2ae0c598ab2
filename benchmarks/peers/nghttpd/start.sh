# nghttp2's own server over one file.
mkdir -p "$1/documents"
head -c 120 /dev/zero | tr '\0' x > "$1/documents/file"
exec nghttpd -d "$1/documents" --no-tls -n1 --address=127.0.0.1 "$2"
