/* escape: text as the inside of a JSON string. Only what RFC 8259 asks for is escaped: quotes, backslashes and control characters. */

#ifndef INFERD_ESCAPE_H
#define INFERD_ESCAPE_H

#include <stdint.h>
#include <string.h>

/* Whether one of eight bytes must be escaped: less than 0x20, a quote or a backslash. */
static inline int has_escaped(uint64_t bytes) {
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quotes = bytes ^ ones * '"', slashes = bytes ^ ones * '\\';
    return (((bytes - ones * 0x20) & ~bytes) | ((quotes - ones) & ~quotes) | ((slashes - ones) & ~slashes)) & tops ? 1 : 0;
}

static inline Py_ssize_t escaped_length(unsigned char byte) {
    if (byte == '"' || byte == '\\' || byte == '\n' || byte == '\r' || byte == '\t') return 2;
    return byte < 0x20 ? 6 : 1;
}

static inline Py_ssize_t escaped_nbytes(const char *text, Py_ssize_t nbytes) {
    Py_ssize_t total = 0, at = 0;
    uint64_t bytes;
    while (at < nbytes) {
        if (nbytes - at >= 8) {
            memcpy(&bytes, text + at, 8);
            if (!has_escaped(bytes)) { at += 8; total += 8; continue; }
        }
        total += escaped_length((unsigned char)text[at++]);
    }
    return total;
}

/* Returns what lies behind. */
static inline char *put_escaped(char *at, const char *text, Py_ssize_t nbytes) {
    static const char hex[] = "0123456789abcdef";
    const char *end = text + nbytes;
    uint64_t bytes;
    while (text < end) {
        unsigned char byte;
        if (end - text >= 8) {
            memcpy(&bytes, text, 8);
            if (!has_escaped(bytes)) { memcpy(at, &bytes, 8); at += 8; text += 8; continue; }
        }
        byte = (unsigned char)*text++;
        switch (escaped_length(byte)) {
        case 1: *at++ = (char)byte; break;
        case 2:
            *at++ = '\\';
            *at++ = byte == '\n' ? 'n' : byte == '\r' ? 'r' : byte == '\t' ? 't' : (char)byte;
            break;
        default:
            memcpy(at, "\\u00", 4);
            at[4] = hex[byte >> 4];
            at[5] = hex[byte & 15];
            at += 6;
        }
    }
    return at;
}

#endif
