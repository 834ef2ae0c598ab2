/* libjpeg behind functions that return: where it would jump out of its depths, a status comes back. A warning is damage, too.
 * The structure of a file is zero before jpeg_file_open, and jpeg_file_close frees what it holds, whatever happened in between.
 * Never in here: Python, memory of ours.
 */
#ifndef INFERD_JPEG_LIBRARY_H
#define INFERD_JPEG_LIBRARY_H

#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>

#include <jerror.h>

#include "jpeg_huffman.h"

enum {
    JPEG_DECODED,
    JPEG_DAMAGED,    /* not a picture, cut short, or with codes that cannot be */
    JPEG_NO_MEMORY,
    JPEG_OTHER_SIZE, /* the picture has no scale of that size */
    JPEG_LEFT,       /* jpeg_huffman.h leaves the file to libjpeg, which has to read it from its beginning */
};

enum { ROWS = 16 }; /* that are asked for at once */

struct jpeg_file {
    struct jpeg_decompress_struct library;
    struct jpeg_error_mgr errors;
    jmp_buf back; /* to the function below that called libjpeg */
    int status;   /* for it to return */
};

static void jpeg_leave(j_common_ptr library) {
    struct jpeg_file *file = (struct jpeg_file *)library; /* its first member */
    file->status = file->errors.msg_code == JERR_OUT_OF_MEMORY ? JPEG_NO_MEMORY : JPEG_DAMAGED;
    longjmp(file->back, 1);
}

static void jpeg_note(j_common_ptr library, int level) {
    if (level < 0) jpeg_leave(library); /* a warning; the others are traces */
}

static void jpeg_say_nothing(j_common_ptr library) { (void)library; }

/* Reads the head: library.image_height, image_width, jpeg_color_space. `source` is read until the file is closed. */
static int jpeg_file_open(struct jpeg_file *file, const unsigned char *source, size_t nbytes) {
    file->library.err = jpeg_std_error(&file->errors);
    file->errors.error_exit = jpeg_leave;
    file->errors.emit_message = jpeg_note;
    file->errors.output_message = jpeg_say_nothing;
    if (setjmp(file->back)) return file->status;
    jpeg_create_decompress(&file->library);
    jpeg_mem_src(&file->library, source, nbytes);
    jpeg_read_header(&file->library, TRUE);
    return JPEG_DECODED;
}

/* Decodes an open file at so many eighths of its size: [height, width], `pitch` bytes from a row to the next. `huffman`: memory for our
 * reader, or NULL, where libjpeg reads all by itself. */
static int jpeg_file_decode(
    struct jpeg_file *file, int eighths, J_COLOR_SPACE colors, unsigned char *pixels, size_t height, size_t width, size_t pitch,
    struct jpeg_huffman *huffman) {
    j_decompress_ptr library = &file->library;
    if (setjmp(file->back)) return file->status;
    library->scale_num = (unsigned int)eighths;
    library->scale_denom = 8;
    library->out_color_space = colors;
    jpeg_start_decompress(library);
    if (library->output_height != height || library->output_width != width || width * (size_t)library->output_components > pitch)
        return JPEG_OTHER_SIZE;
    if (huffman != NULL && !jpeg_huffman_start(huffman, library)) return JPEG_LEFT;
    while (library->output_scanline < library->output_height) {
        JSAMPROW rows[ROWS];
        const JDIMENSION next = library->output_scanline, left = library->output_height - next;
        for (JDIMENSION i = 0; i < ROWS && i < left; i++) rows[i] = pixels + (next + i) * pitch;
        if (jpeg_read_scanlines(library, rows, left < ROWS ? left : ROWS) == 0) return JPEG_LEFT;
    }
    jpeg_finish_decompress(library);
    return JPEG_DECODED;
}

static void jpeg_file_close(struct jpeg_file *file) {
    if (setjmp(file->back)) return;
    jpeg_destroy_decompress(&file->library);
}

#endif
