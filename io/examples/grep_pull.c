/* SPDX-License-Identifier: MIT */
/*
 * Greps in files, packed or not, with a pipeline that is pulled: each stage is an iterator and asks
 * the one before it for the next value.
 *
 *     grep_pull error '*.log*' /var/log
 *     grep_pull -r --from 16 --to 20 '^[0-9]+ ' '*.txt*' books    (matches 16 to 20 alone)
 *     grep_pull --help
 *
 *     paths -> open_files -> cat -> grep -> count -> up to the last -> from the first on -> print
 *
 * The loop at the end drives it all. When it has had enough it closes the last stage, which closes
 * the one before it, and so on: the file that is open then is closed by open_files.
 */
#include "io/examples/grep.h"
#include "io/examples/unpack.h"

#include <bonxie/bonxie.h>

/* ---- Paths to open files: one at a time ---- */

struct opener {
    struct bnx_iter iter;   /* values: struct bnx_grep_file */
    struct bnx_iter *paths; /* values: char ** */
    struct bnx_grep *grep;
    struct bnx_grep_file file; /* open if there is a stream */
};

static void close_file(struct bnx_grep_file *file) {
    if (file->stream != NULL) {
        (void)bnx_stream_close(file->stream); /* nothing was written that could be lost */
        file->stream = NULL;
    }
}

static int next_file(struct bnx_iter *iter, void **out_file) {
    struct opener *opener = iter->ctx;
    close_file(&opener->file);
    while (true) { /* ends with the paths */
        void *path = NULL;
        int result = bnx_iter_next(opener->paths, &path);
        if (result <= 0) {
            return result;
        }
        opener->file.path = *(char **)path;
        result = bnx_unpack_open(opener->file.path, &opener->file.stream);
        if (result == 0) {
            *out_file = &opener->file;
            return 1;
        }
        result = bnx_grep_skip(opener->grep, opener->file.path, result);
        if (result < 0) {
            return result;
        }
    }
}

static void close_opener(struct bnx_iter *iter) {
    struct opener *opener = iter->ctx;
    close_file(&opener->file);
    bnx_iter_close(opener->paths);
}

static struct bnx_iter *open_files(struct opener *opener, struct bnx_grep *grep,
                                   struct bnx_iter *paths) {
    *opener = (struct opener){.iter = {.next = next_file, .close = close_opener, .ctx = opener},
                              .paths = paths,
                              .grep = grep};
    return &opener->iter;
}

/* ---- Open files to their lines ---- */

struct cat {
    struct bnx_iter iter;   /* values: struct bnx_grep_line */
    struct bnx_iter *files; /* values: struct bnx_grep_file */
    struct bnx_grep *grep;
    struct bnx_stream_lines lines; /* of the file that is being read; zeroed: of none */
    struct bnx_grep_line line;
};

static int next_line(struct bnx_iter *iter, void **out_line) {
    struct cat *cat = iter->ctx;
    while (true) { /* ends with the files */
        void *value = NULL;
        int result = bnx_iter_next(&cat->lines.iter, &value);
        if (result > 0) {
            cat->line.text = value;
            cat->line.bytes = cat->lines.bytes;
            *out_line = &cat->line;
            return 1;
        }
        if (result < 0) {
            result = bnx_grep_skip(cat->grep, cat->line.path, result);
        }
        if (result == 0) {
            result = bnx_iter_next(cat->files, &value);
        }
        if (result <= 0) {
            return result;
        }
        const struct bnx_grep_file *file = value;
        cat->line.path = file->path;
        (void)bnx_stream_lines(&cat->lines, file->stream);
    }
}

static void close_cat(struct bnx_iter *iter) {
    struct cat *cat = iter->ctx;
    bnx_iter_close(&cat->lines.iter);
    bnx_iter_close(cat->files);
}

static struct bnx_iter *cat_files(struct cat *cat, struct bnx_grep *grep, struct bnx_iter *files) {
    *cat = (struct cat){
        .iter = {.next = next_line, .close = close_cat, .ctx = cat}, .files = files, .grep = grep};
    return &cat->iter;
}

/* ---- The rest of the stages are bonxie's ---- */

static int matches(void *line, void *grep) {
    return bnx_grep_matches(grep, line);
}

static int is_wanted(void *counted, void *grep) {
    return ((struct bnx_indexed *)counted)->index + 1 >= ((struct bnx_grep *)grep)->first;
}

static int pull(struct bnx_grep *grep) {
    struct bnx_iter_stage paths, matching, counted, early, wanted;
    struct opener opener;
    struct cat cat;
    struct bnx_iter *iter =
        bnx_iter_array(&paths, grep->paths, grep->path_count, sizeof(grep->paths[0]));
    iter = open_files(&opener, grep, iter);
    iter = cat_files(&cat, grep, iter);
    iter = bnx_iter_filter(&matching, iter, matches, grep);
    iter = bnx_iter_enumerate(&counted, iter);
    iter = bnx_iter_take(&early, iter, grep->last == UINT32_MAX ? SIZE_MAX : grep->last);
    iter = bnx_iter_filter(&wanted, iter, is_wanted, grep);
    int error = 0;
    BNX_FOR_EACH_OR(match, iter, &error) {
        int result = bnx_grep_print(grep, ((struct bnx_indexed *)match)->value);
        if (result < 0) {
            return result;
        }
    }
    return error;
}

int main(int argc, char **argv) {
    return bnx_grep_main(argc, argv, "greps with a pipeline of iterators", pull);
}
