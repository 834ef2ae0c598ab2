/* Huffman's codes of a sequential JPEG file -> coefficients: in libjpeg's place, where most of the time that a picture takes is spent.
 * libjpeg looks a code up and reads the bits of its number then; here one look at the next AHEAD bits gives both, bits are taken from
 * memory eight bytes at a time, and the zeros that are stuffed behind each 0xFF are taken out before.
 *
 * It reads whole files. At anything else (a code that cannot be, data that ends early or goes on behind the last block, a marker that
 * does not belong there) it gives up, and libjpeg reads the file again and decides. So it accepts no file that libjpeg would reject, and
 * gives the same coefficients.
 *
 * libjpeg calls its entropy decoder through a pointer, in a structure that its header only names. Its first two members have been the
 * same since 1994, in every version of libjpeg-turbo, too.
 *
 * Never in here: progressive files, arithmetic coding, what jumps (jpeg_library.h), Python. The machine is little-endian.
 */
#ifndef INFERD_JPEG_HUFFMAN_H
#define INFERD_JPEG_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

struct jpeg_entropy_decoder {
    void (*start_pass)(j_decompress_ptr library);
    boolean (*decode_mcu)(j_decompress_ptr library, JBLOCKROW *blocks);
};

enum {
    AHEAD = 11,                /* bits that are looked up at once */
    LONGEST = 16,              /* bits of a code */
    DC_BITS = 11,              /* bits of the largest number behind a code, in files of 8 bits: libjpeg reads files that say more */
    AC_BITS = 10,
    SIXTEEN_ZEROS = 0xF0,      /* the one symbol of an AC table without a number behind it that does not end the block */
    WORD = 8,                  /* bytes that are read at once */
    BLOCK_READS = 1 + 63 / 2 + 1, /* of a word, for one block: for its first code, then for every two */
    MCU_NBYTES = D_MAX_BLOCKS_IN_MCU * BLOCK_READS * (WORD - 1) + WORD, /* from the bytes that a damaged MCU may make us take */
    CHUNK = 16384,             /* bytes without stuffing that are made at once */
    MAX_DC = 1 << 14,          /* a sum of differences beyond is damage, and would grow */
    DAMAGE = 1 << 20,          /* no symbol, difference or place in a block, and more than each */
};

/* The code that the next AHEAD bits begin with. Low byte, LENGTH: of the code and its number together; next byte: coefficients that it
 * goes on by; upper half: the number. With LONG the number does not fit in: the code's length, and its symbol in the next byte.
 * LONG alone: the code is longer than AHEAD. */
typedef int32_t Looked;
enum { LONG = 0x80, LENGTH = 0x7F };

typedef struct {
    Looked ahead[1 << AHEAD];
    int32_t past[LONGEST + 1];  /* behind the last code of each length, the code's bits on top of 16 */
    int32_t first[LONGEST + 1]; /* the place of a length's first symbol, less its first code */
    uint8_t symbols[256];
} Codes;

typedef struct {
    const uint8_t *at; /* the next byte, in `chunk` below */
    uint64_t bits;     /* taken and not used yet, the next on top */
    int left;          /* how many of them */
} Bits;

struct jpeg_huffman {
    const uint8_t *source, *source_end; /* of the file, from where nothing was unstuffed yet */
    Bits next;
    const uint8_t *end;                 /* in `chunk`: behind it there are MCU_NBYTES of zero */
    int ended;                          /* `source` is at a marker, or at the end of the file */
    uint32_t mcus;                      /* that are still to come, of the picture */
    uint32_t interval, until_restart;   /* MCUs between restart markers, 0: there are none; until the next */
    int next_restart;                   /* 0 to 7 */
    int count;                          /* blocks of an MCU */
    int component[D_MAX_BLOCKS_IN_MCU];
    int (*read)(struct jpeg_huffman *huffman, JBLOCKROW *blocks); /* jpeg_read_blocks, for this machine */
    const Codes *dc[D_MAX_BLOCKS_IN_MCU], *ac[D_MAX_BLOCKS_IN_MCU]; /* of each of them */
    int predicted[MAX_COMPS_IN_SCAN];   /* DC */
    Codes codes[2][NUM_HUFF_TBLS];
    uint8_t chunk[CHUNK + 2 * MCU_NBYTES];
};

/* Where the k-th coefficient of the file lies in a block. Those behind the last, of a damaged block or of its end, fall on the last. */
static const uint8_t ZIGZAG[64 + 63 + 16] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
};

/* A number as the file has it: the lower half of each length's values are the negative ones. */
static inline int jpeg_number(int value, int nbits) { return value < 1 << (nbits - 1) ? value - (1 << nbits) + 1 : value; }

/* 0: a table that cannot be, or only in files of more than 8 bits. */
static int jpeg_make_codes(Codes *codes, const JHUFF_TBL *table, int is_ac) {
    const int most = is_ac ? AC_BITS : DC_BITS;
    int code = 0, place = 0;
    for (int i = 0; i < 1 << AHEAD; i++) codes->ahead[i] = LONG;
    memcpy(codes->symbols, table->huffval, sizeof codes->symbols);
    for (int length = 1; length <= LONGEST; length++, code <<= 1) {
        codes->first[length] = place - code;
        if (place + table->bits[length] > 256 || code + table->bits[length] > 1 << length) return 0;
        for (int i = 0; i < table->bits[length]; i++, code++, place++) {
            const int symbol = codes->symbols[place], nbits = is_ac ? symbol & 15 : symbol, zeros = is_ac ? symbol >> 4 : 0;
            const int spare = AHEAD - length;
            if (nbits > most) return 0;
            if (spare < 0) continue;
            for (int more = 0; more < 1 << spare; more++) {
                Looked looked = length | symbol << 8 | LONG;
                if (nbits && nbits <= spare) {
                    const int number = jpeg_number(more >> (spare - nbits), nbits);
                    looked = (Looked)((uint32_t)number << 16) | (zeros + 1) << 8 | (length + nbits);
                } else if (!nbits) {
                    looked = (symbol == SIXTEEN_ZEROS && is_ac ? 16 : is_ac ? 64 : 1) << 8 | length;
                }
                codes->ahead[code << spare | more] = looked;
            }
        }
        codes->past[length] = code << (LONGEST - length);
    }
    return 1;
}

/* At the beginning of the data, or behind a restart marker. */
static void jpeg_begin(struct jpeg_huffman *huffman) {
    huffman->next = (Bits){huffman->chunk, 0, 0};
    huffman->end = huffman->chunk;
    huffman->ended = 0;
    huffman->until_restart = huffman->interval;
    memset(huffman->predicted, 0, sizeof huffman->predicted);
}

/* More bytes behind those that are left, without stuffing, up to the next marker. */
static void jpeg_unstuff(struct jpeg_huffman *huffman) {
    const size_t kept = (size_t)(huffman->end - huffman->next.at);
    uint8_t *to = huffman->chunk + kept, *const full = huffman->chunk + MCU_NBYTES + CHUNK;
    memmove(huffman->chunk, huffman->next.at, kept);
    while (to < full && !huffman->ended) {
        const size_t there = (size_t)(huffman->source_end - huffman->source), room = (size_t)(full - to);
        const size_t most = there < room ? there : room;
        const uint8_t *escape = memchr(huffman->source, 0xFF, most);
        const size_t plain = escape == NULL ? most : (size_t)(escape - huffman->source);
        memcpy(to, huffman->source, plain);
        to += plain;
        huffman->source += plain;
        if (escape == NULL) {
            huffman->ended = plain == there;
        } else if (there - plain >= 2 && escape[1] == 0) {
            *to++ = 0xFF;
            huffman->source += 2;
        } else {
            huffman->ended = 1;
        }
    }
    memset(to, 0, MCU_NBYTES);
    huffman->next.at = huffman->chunk;
    huffman->end = to;
}

/* Whether all bits of the file up to its next marker were used, except those that fill the last byte. */
static inline int jpeg_used_up(const struct jpeg_huffman *huffman) {
    return huffman->ended && huffman->next.at - (huffman->next.left >> 3) == huffman->end;
}

static int jpeg_restart(struct jpeg_huffman *huffman) {
    if (!jpeg_used_up(huffman) || huffman->source_end - huffman->source < 2 || huffman->source[1] != 0xD0 + huffman->next_restart)
        return 0;
    huffman->source += 2;
    huffman->next_restart = (huffman->next_restart + 1) & 7;
    jpeg_begin(huffman);
    return 1;
}

/* Takes a word, of which only whole bytes count: 56 bits or more are left then, enough for two codes with their numbers. */
static inline void jpeg_take_word(Bits *next) {
    uint64_t word;
    memcpy(&word, next->at, WORD);
    next->bits |= __builtin_bswap64(word) >> next->left;
    next->at += (63 - next->left) >> 3;
    next->left |= 56;
}

static inline void jpeg_drop(Bits *next, int count) {
    next->bits <<= count;
    next->left -= count;
}

static inline Looked jpeg_look(const Codes *codes, const Bits *next) { return codes->ahead[next->bits >> (64 - AHEAD)]; }

/* The symbol of the next code, for which LONG was found. DAMAGE: there is no such code. */
static inline int jpeg_long_symbol(const Codes *codes, Looked looked, Bits *next) {
    const int top = (int)(next->bits >> (64 - LONGEST));
    int length = looked & LENGTH, symbol = looked >> 8;
    if (length == 0) {
        for (length = AHEAD + 1; length <= LONGEST && top >= codes->past[length]; length++) {}
        if (length > LONGEST) return DAMAGE;
        symbol = codes->symbols[((top >> (LONGEST - length)) + codes->first[length]) & 255];
    }
    jpeg_drop(next, length);
    return symbol;
}

static inline int jpeg_take_number(Bits *next, int nbits) {
    const int number = jpeg_number((int)(next->bits >> (64 - nbits)), nbits);
    jpeg_drop(next, nbits);
    return number;
}

/* The number that is added to the previous block's DC; DAMAGE. */
static inline int jpeg_read_difference(const Codes *codes, Bits *next) {
    const Looked looked = jpeg_look(codes, next);
    if (looked & LONG) {
        const int nbits = jpeg_long_symbol(codes, looked, next);
        return nbits == 0 || nbits == DAMAGE ? nbits : jpeg_take_number(next, nbits);
    }
    jpeg_drop(next, looked & LENGTH);
    return looked >> 16;
}

/* Reads a code and its number, of which the k-th coefficient is the next. The one behind; 64 or more: the block is whole; or DAMAGE. */
static inline __attribute__((always_inline)) int jpeg_read_coefficient(const Codes *codes, JCOEF *block, int k, Bits *next) {
    const Looked looked = jpeg_look(codes, next);
    int symbol;
    if (__builtin_expect(!(looked & LONG), 1)) {
        k += looked >> 8 & 0x7F;
        block[ZIGZAG[k - 1]] = (JCOEF)(looked >> 16); /* zero where no number follows, and where nothing else was yet */
        jpeg_drop(next, looked & LENGTH);
        return k;
    }
    if ((symbol = jpeg_long_symbol(codes, looked, next)) == DAMAGE) return DAMAGE;
    k += symbol >> 4;
    if ((symbol & 15) == 0) return symbol == SIXTEEN_ZEROS ? k + 1 : 64;
    block[ZIGZAG[k]] = (JCOEF)jpeg_take_number(next, symbol & 15);
    return k + 1;
}

/* The blocks of an MCU, zero so far. 0: they are not as they must be. */
static inline __attribute__((always_inline)) int jpeg_read_blocks(struct jpeg_huffman *huffman, JBLOCKROW *blocks) {
    Bits next = huffman->next;
    for (int i = 0; i < huffman->count; i++) {
        JCOEF *const block = *blocks[i];
        const Codes *const codes = huffman->ac[i];
        int *const predicted = &huffman->predicted[huffman->component[i]];
        int k = 1;
        jpeg_take_word(&next);
        *predicted += jpeg_read_difference(huffman->dc[i], &next);
        if (*predicted < -MAX_DC || *predicted > MAX_DC) return 0;
        block[0] = (JCOEF)*predicted;
        while (k < 64) {
            jpeg_take_word(&next);
            k = jpeg_read_coefficient(codes, block, k, &next);
            if (k < 64) k = jpeg_read_coefficient(codes, block, k, &next);
        }
        if (k == DAMAGE) return 0;
    }
    huffman->next = next;
    return next.at - (next.left >> 3) <= huffman->end; /* no bit that is none of the file's */
}

static int jpeg_read_blocks_anywhere(struct jpeg_huffman *huffman, JBLOCKROW *blocks) { return jpeg_read_blocks(huffman, blocks); }

#if defined(__x86_64__)
/* Shifts by a variable are one instruction each. */
__attribute__((target("bmi2"))) static int jpeg_read_blocks_bmi2(struct jpeg_huffman *huffman, JBLOCKROW *blocks) {
    return jpeg_read_blocks(huffman, blocks);
}
#endif

static boolean jpeg_next_mcu(j_decompress_ptr library, JBLOCKROW *blocks) {
    struct jpeg_huffman *huffman = library->client_data;
    if (huffman->mcus == 0) return FALSE;
    if (huffman->interval != 0) {
        if (huffman->until_restart == 0 && !jpeg_restart(huffman)) return FALSE;
        huffman->until_restart--;
    }
    if (!huffman->ended && huffman->end - huffman->next.at < MCU_NBYTES) jpeg_unstuff(huffman);
    if (!huffman->read(huffman, blocks)) return FALSE;
    if (--huffman->mcus == 0) {
        if (!jpeg_used_up(huffman)) return FALSE;
        library->src->next_input_byte = huffman->source;
        library->src->bytes_in_buffer = (size_t)(huffman->source_end - huffman->source);
    }
    return TRUE;
}

/* Takes the place of libjpeg's decoder, behind jpeg_start_decompress, until the file is closed. 0: a file that is left to it. */
static int jpeg_huffman_start(struct jpeg_huffman *huffman, j_decompress_ptr library) {
    int made[2][NUM_HUFF_TBLS] = {{0}};
    if (library->progressive_mode || library->arith_code || library->data_precision != 8 ||
        library->comps_in_scan != library->num_components)
        return 0;
    huffman->source = library->src->next_input_byte;
    huffman->source_end = huffman->source + library->src->bytes_in_buffer;
    huffman->mcus = library->MCUs_per_row * library->MCU_rows_in_scan;
    huffman->interval = library->restart_interval;
    huffman->next_restart = 0;
    huffman->count = library->blocks_in_MCU;
    jpeg_begin(huffman);
    for (int block = 0; block < huffman->count; block++) {
        const jpeg_component_info *component = library->cur_comp_info[library->MCU_membership[block]];
        const int numbers[2] = {component->dc_tbl_no, component->ac_tbl_no};
        for (int is_ac = 0; is_ac < 2; is_ac++) {
            const int number = numbers[is_ac];
            const JHUFF_TBL *table;
            if (number < 0 || number >= NUM_HUFF_TBLS) return 0;
            table = (is_ac ? library->ac_huff_tbl_ptrs : library->dc_huff_tbl_ptrs)[number];
            if (table == NULL) return 0;
            if (!made[is_ac][number] && !jpeg_make_codes(&huffman->codes[is_ac][number], table, is_ac)) return 0;
            made[is_ac][number] = 1;
        }
        huffman->component[block] = library->MCU_membership[block];
        huffman->dc[block] = &huffman->codes[0][numbers[0]];
        huffman->ac[block] = &huffman->codes[1][numbers[1]];
    }
#if defined(__x86_64__)
    huffman->read = __builtin_cpu_supports("bmi2") ? jpeg_read_blocks_bmi2 : jpeg_read_blocks_anywhere;
#else
    huffman->read = jpeg_read_blocks_anywhere;
#endif
    library->client_data = huffman;
    library->entropy->decode_mcu = jpeg_next_mcu;
    return 1;
}

#endif
