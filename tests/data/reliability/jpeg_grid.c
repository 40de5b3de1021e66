/* Makes JPEG files of every sampling, kind of scan, color and size that libjpeg-turbo can write, and the pixels that it reads back.
 *
 * jpeg_grid FOLDER writes FOLDER/files/SIDE/a/NAME.jpg or FOLDER/files/SIDE/b/NAME.jpg, where SIDE is the shorter side of the image,
 * and FOLDER/pixels/NAME.rgb: SIDE x SIDE pixels of its center square, red, green and blue of each. CMYK becomes RGB as in Pillow,
 * which takes every file for an inverted one, as Adobe writes them. A file that libjpeg cannot read itself has no NAME.rgb.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <jpeglib.h>

struct errors { struct jpeg_error_mgr base; jmp_buf back; };

static void leave(j_common_ptr info) { longjmp(((struct errors *)info->err)->back, 1); }
static void quiet(j_common_ptr info) { (void)info; }

static const char *MODES[] = { "baseline", "optimized", "restarts", "scans", "two_scans", "scans_restarts", "scans_reversed", "progressive",
                               "progressive_restarts", "arithmetic" };
static const char *COLORS[] = { "gray", "ycbcr", "ycbcr_bare", "rgb", "cmyk", "cmyk_bare", "ycck" };
static const char *ONE[] = { "11", "21", "12", "22", "41", NULL };
static const char *THREE[] = { "11-11-11", "21-11-11", "12-11-11", "22-11-11", "41-11-11", "14-11-11", "42-11-11", "24-11-11", "44-11-11",
                               "31-11-11", "13-11-11", "32-11-11", "22-21-21", "22-12-12", "22-21-12", "22-11-21", "41-21-21", "42-21-21",
                               "21-21-21", "12-12-12", "22-22-22", "11-21-21", "11-12-12", "11-22-22", "21-12-12", "11-11-21", "21-11-21",
                               "11-22-11", "31-21-11", NULL };
static const char *FOUR[] = { "11-11-11-11", "21-11-11-21", "12-11-11-12", "22-11-11-22", "41-11-11-41", "22-11-11-11", "11-11-11-22",
                              "11-11-11-21", "22-21-21-22", "22-12-12-22", "21-11-11-11", "12-11-11-11", "11-21-21-11", "21-21-21-21",
                              "22-22-22-22", "31-11-11-31", NULL };
static const int SIZES[][2] = { { 1, 1 }, { 3, 3 }, { 8, 8 }, { 17, 17 }, { 33, 33 }, { 23, 40 }, { 50, 19 }, { 64, 64 }, { 71, 71 } };

/* A picture with slopes, a disk and fine stripes; channel 3 is mostly light, as inverted black is. */
static unsigned char pixel(int x, int y, int w, int h, int channel)
{
    int dx = 2 * x - w, dy = 2 * y - h;
    int inside = dx * dx + dy * dy < w * h / 3;
    int slope[4] = { 40 + 170 * x / w, 30 + 190 * y / h, 200 - 90 * (x + y) / (w + h), 255 - 100 * x / w };
    int value = slope[channel] + (inside ? (channel == 1 ? -30 : 25) : 0) + ((x / 3 + y / 2) % 2 ? 9 : -9);
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/* 0 if libjpeg does not write such a file. */
static unsigned long encode(unsigned char **file, int color, const char *sampling, int mode, int w, int h)
{
    struct jpeg_compress_struct info;
    struct errors errors;
    unsigned long size = 0;
    int components = color == 0 ? 1 : color < 4 ? 3 : 4;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = leave;
    errors.base.output_message = quiet;
    jpeg_create_compress(&info);
    *file = NULL;
    if (setjmp(errors.back)) {
        jpeg_destroy_compress(&info);
        return 0;
    }
    jpeg_mem_dest(&info, file, &size);
    info.image_width = w;
    info.image_height = h;
    info.input_components = components;
    info.in_color_space = color == 0 ? JCS_GRAYSCALE : color < 4 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&info);
    J_COLOR_SPACE spaces[] = { JCS_GRAYSCALE, JCS_YCbCr, JCS_YCbCr, JCS_RGB, JCS_CMYK, JCS_CMYK, JCS_YCCK };
    jpeg_set_colorspace(&info, spaces[color]);
    jpeg_set_quality(&info, 90, TRUE);
    if (color == 2) info.write_JFIF_header = FALSE;
    if (color == 5) info.write_Adobe_marker = FALSE;
    for (int at = 0; at < components; at++) {
        info.comp_info[at].h_samp_factor = sampling[3 * at] - '0';
        info.comp_info[at].v_samp_factor = sampling[3 * at + 1] - '0';
    }
    jpeg_scan_info scans[4];
    memset(scans, 0, sizeof scans);
    for (int at = 0; at < 4; at++) { scans[at].comps_in_scan = 1; scans[at].component_index[0] = at; scans[at].Se = 63; }
    const char *name = MODES[mode];
    if (strstr(name, "restarts")) info.restart_interval = 3;
    if (!strcmp(name, "optimized")) info.optimize_coding = TRUE;
    if (!strcmp(name, "arithmetic")) info.arith_code = TRUE;
    if (!strncmp(name, "progressive", 11)) jpeg_simple_progression(&info);
    if (!strncmp(name, "scans", 5)) { info.scan_info = scans; info.num_scans = components; }
    if (!strcmp(name, "scans_reversed"))
        for (int at = 0; at < components; at++) scans[at].component_index[0] = components - 1 - at;
    if (!strcmp(name, "two_scans")) {
        scans[1].comps_in_scan = components - 1;
        for (int at = 1; at < components; at++) scans[1].component_index[at - 1] = at;
        info.scan_info = scans;
        info.num_scans = 2;
        if (components == 1) { jpeg_destroy_compress(&info); return 0; }
    }
    jpeg_start_compress(&info, TRUE);
    unsigned char *row = malloc(w * components);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++)
            for (int channel = 0; channel < components; channel++) row[x * components + channel] = pixel(x, y, w, h, channel);
        jpeg_write_scanlines(&info, &row, 1);
    }
    free(row);
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    return size;
}

/* 0 if libjpeg does not read the file. */
static int decode(const unsigned char *file, unsigned long size, unsigned char *volatile rgb, int w, int h)
{
    struct jpeg_decompress_struct info;
    struct errors errors;
    info.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = leave;
    errors.base.output_message = quiet;
    jpeg_create_decompress(&info);
    if (setjmp(errors.back)) {
        jpeg_destroy_decompress(&info);
        return 0;
    }
    jpeg_mem_src(&info, file, size);
    jpeg_read_header(&info, TRUE);
    int four = info.num_components == 4;
    info.out_color_space = four ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&info);
    int side = w < h ? w : h, left = (w - side) / 2, top = (h - side) / 2;
    unsigned char *row = malloc(4 * w);
    for (int y = 0; y < h; y++) {
        jpeg_read_scanlines(&info, &row, 1);
        if (y < top || y >= top + side) continue;
        for (int x = 0; x < side; x++)
            for (int channel = 0; channel < 3; channel++) {
                unsigned char *from = row + (x + left) * (four ? 4 : 3);
                *rgb++ = four ? (from[channel] * from[3] + 127) / 255 : from[channel];
            }
    }
    free(row);
    jpeg_finish_decompress(&info);
    int warnings = errors.base.num_warnings;
    jpeg_destroy_decompress(&info);
    return warnings == 0;
}

static void save(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) { perror(path); exit(1); }
}

int main(int count, char **arguments)
{
    if (count != 2) { fprintf(stderr, "usage: jpeg_grid FOLDER\n"); return 2; }
    int made = 0, refused = 0, unread = 0;
    static unsigned char rgb[128 * 128 * 3];
    char path[4096];
    snprintf(path, sizeof path, "%s/files", arguments[1]);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/pixels", arguments[1]);
    mkdir(path, 0777);
    for (int color = 0; color < 7; color++)
        for (const char **sampling = color == 0 ? ONE : color < 4 ? THREE : FOUR; *sampling; sampling++)
            for (int mode = 0; mode < 10; mode++)
                for (unsigned size = 0; size < sizeof SIZES / sizeof *SIZES; size++) {
                    int w = SIZES[size][0], h = SIZES[size][1], side = w < h ? w : h;
                    unsigned char *file;
                    unsigned long length = encode(&file, color, *sampling, mode, w, h);
                    if (length == 0) { refused++; free(file); continue; }
                    int at = snprintf(path, sizeof path, "%s/files/%d", arguments[1], side);
                    mkdir(path, 0777);
                    at += snprintf(path + at, sizeof path - at, "/%c", "ab"[made++ % 2]);
                    mkdir(path, 0777);
                    char name[64];
                    snprintf(name, sizeof name, "%s_%s_%s_%dx%d", COLORS[color], *sampling, MODES[mode], w, h);
                    snprintf(path + at, sizeof path - at, "/%s.jpg", name);
                    save(path, file, length);
                    snprintf(path, sizeof path, "%s/pixels/%s.rgb", arguments[1], name);
                    if (decode(file, length, rgb, w, h)) save(path, rgb, side * side * 3);
                    else unread++;
                    free(file);
                }
    printf("%d files; %d more libjpeg-turbo does not write, and %d of the files it does not read itself\n", made, refused, unread);
    return 0;
}
