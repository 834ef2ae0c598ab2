/* arena: the memory of one JSON document, in one block whose size is known before it is read: so much is charged, and never more used.
   yyjson asks for two pieces, a copy of the text and the values; the values are last, and grow in place. */

#ifndef INFERD_ARENA_H
#define INFERD_ARENA_H

#include <yyjson.h>

typedef struct { char *at, *end; } Arena;

static inline size_t arena_aligned(size_t nbytes) { return (nbytes + 15) & ~(size_t)15; }

static inline void *arena_malloc(void *ctx, size_t nbytes) {
    Arena *arena = ctx;
    char *at = arena->at;
    if (nbytes > (size_t)(arena->end - at) || arena_aligned(nbytes) > (size_t)(arena->end - at)) return NULL;
    arena->at += arena_aligned(nbytes);
    return at;
}

/* Only the newest piece grows: all behind it is free. */
static inline void *arena_realloc(void *ctx, void *piece, size_t old_nbytes, size_t nbytes) {
    Arena *arena = ctx;
    if ((char *)piece + arena_aligned(old_nbytes) != arena->at || nbytes > (size_t)(arena->end - (char *)piece)) return NULL;
    arena->at = (char *)piece + (arena_aligned(nbytes) < (size_t)(arena->end - (char *)piece) ? arena_aligned(nbytes)
                                                                                             : (size_t)(arena->end - (char *)piece));
    return piece;
}

static inline void arena_free(void *ctx, void *piece) { (void)ctx; (void)piece; }

/* memory: aligned to 16 bytes. */
static inline yyjson_alc arena_memory(Arena *arena, char *memory, Py_ssize_t nbytes) {
    yyjson_alc found = {arena_malloc, arena_realloc, arena_free, arena};
    arena->at = memory;
    arena->end = memory + nbytes;
    return found;
}

typedef unsigned char Lanes __attribute__((vector_size(16)));

/* Values that a text can hold: each but the first follows a bracket, a brace, a comma or a colon. Those in strings count, too. */
static inline Py_ssize_t most_values(const char *text, Py_ssize_t nbytes) {
    Py_ssize_t count = 1, at = 0;
    while (nbytes - at >= 16) {
        Lanes sums = {0}, some;
        Py_ssize_t end = nbytes - at > 255 * 16 ? at + 255 * 16 : nbytes;
        for (; end - at >= 16; at += 16) {
            memcpy(&some, text + at, 16);
            sums -= (Lanes)((some == ',') | (some == ':') | ((some | 0x20) == '{'));
        }
        for (int lane = 0; lane < 16; lane++) count += sums[lane];
    }
    for (; at < nbytes; at++) count += text[at] == ',' || text[at] == ':' || (text[at] | 0x20) == '{';
    return count;
}

/* The block that reading this text takes at most: yyjson begins with a value for every six bytes, and lets their memory grow by half. */
static inline Py_ssize_t arena_nbytes(const char *text, Py_ssize_t nbytes) {
    Py_ssize_t first = nbytes / 6 + 16, last = most_values(text, nbytes) + 16;
    last += last / 2;
    return (Py_ssize_t)arena_aligned((size_t)nbytes + YYJSON_PADDING_SIZE) + (first > last ? first : last) * (Py_ssize_t)sizeof(yyjson_val);
}

#endif
