// y = x @ W.T, with W in blocks of 32: W[n, 32 b + i] = scales[n, b] * codes[n, b, i] + minima[n, b], or where there are no minima
// scales[n, b] * (codes[n, b, i] - zero), zero being half of the codes' range.
//
// Blocks of x are rounded to 8 bits as well, or to 16 where the product is `exact`, so that products are of integers. A step of a decoder
// reads every weight once and takes as long as that takes: so codes are read as they are stored, and scales and minima stay float16.
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { BLOCK = 32, ROWS = 16, TILE = 4, PADDING = 64, AHEAD = 4096 };

// Codes are uint8 [N, K / 32, 4 * bits], two of 4 bits in a byte; scales and minima float16 [N, K / 32].
typedef struct {
  const uint8_t* codes;
  const uint16_t *scales, *minima;
  int64_t rows, columns, blocks;
  int bits;
} Weight;

// x in integers: [M, parts, K], of which the first half is the even columns if codes are of 4 bits. For each block its step, and the sum of
// what it was rounded to. If there are two parts, the first counts 256 steps.
typedef struct {
  int8_t* codes;
  float *steps, *sums;
  int parts;
} Rounded;

typedef void Rows(const Weight*, const Rounded*, float* y, int64_t count, int64_t start, int64_t stop);

typedef struct {
  const float* x;
  float* y;
  Weight weight;
  Rounded rounded;
  int64_t count;
  Rows* rows;
} Product;

#define AVX2_CODE __attribute__((target("avx2,fma,f16c")))
#define VNNI_CODE __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline))

// ---- rounding x

AVX2_CODE INLINE float sum_of_8(__m256 x) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

// Stores 32 integers in bytes and returns their sum.
AVX2_CODE INLINE int store_block(const __m256i* numbers, int8_t* codes, int64_t columns, int bits) {
  const __m256i words = _mm256_packs_epi32(numbers[0], numbers[1]), more = _mm256_packs_epi32(numbers[2], numbers[3]);
  __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, more), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  if (bits == 4) {
    const __m256i halves = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    bytes = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(bytes, halves), 0xd8);
    _mm_storeu_si128((__m128i*)codes, _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i*)(codes + columns / 2), _mm256_extracti128_si256(bytes, 1));
  } else {
    _mm256_storeu_si256((__m256i*)codes, bytes);
  }
  const __m256i all = _mm256_add_epi32(_mm256_add_epi32(numbers[0], numbers[1]), _mm256_add_epi32(numbers[2], numbers[3]));
  return (int)sum_of_8(_mm256_cvtepi32_ps(all));  // small integers, exact in float
}

AVX2_CODE static void round_block(const float* x, int8_t* codes, float* step, float* sum, int64_t columns, int parts, int bits) {
  __m256 found[4], largest = _mm256_setzero_ps(), finite = _mm256_setzero_ps();
  for (int i = 0; i < 4; i++) {
    found[i] = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), found[i]));
    finite = _mm256_fmadd_ps(found[i], _mm256_setzero_ps(), finite);
  }
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  const float most = _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four))), scale = most / 127;
  const float wrong = sum_of_8(finite);  // 0, or NaN where x is not finite: then so is y
  const __m256 inverse = _mm256_set1_ps(scale > 0 ? 1 / scale : 0);
  __m256i coarse[4], fine[4];
  for (int i = 0; i < 4; i++) {
    const __m256 nearest = _mm256_round_ps(_mm256_mul_ps(found[i], inverse), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 rest = _mm256_mul_ps(_mm256_fmsub_ps(found[i], inverse, nearest), _mm256_set1_ps(256));
    coarse[i] = _mm256_cvtps_epi32(nearest);
    fine[i] = _mm256_max_epi32(_mm256_min_epi32(_mm256_cvtps_epi32(rest), _mm256_set1_epi32(127)), _mm256_set1_epi32(-127));
  }
  const int total = store_block(coarse, codes, columns, bits);
  if (parts == 1) {
    *step = scale + wrong;
    *sum = *step * (float)total;
  } else {
    *step = scale / 256 + wrong;
    *sum = *step * (float)(256 * total + store_block(fine, codes + columns, columns, bits));
  }
}

AVX2_CODE static void round_row(void* argument, size_t m) {
  const Product* p = argument;
  const Weight* w = &p->weight;
  const Rounded* to = &p->rounded;
  for (int64_t b = 0; b < w->blocks; b++) {
    const int64_t block = (int64_t)m * w->blocks + b;
    int8_t* codes = to->codes + (int64_t)m * to->parts * w->columns + b * BLOCK * w->bits / 8;
    round_block(p->x + block * BLOCK, codes, to->steps + block, to->sums + block, w->columns, to->parts, w->bits);
  }
}

// ---- some rows of W by some rows of x
//
// Both forms go the same way: a register of codes by one of x gives sums of four products in int32 (under AVX2 by way of two in int16),
// which are scaled by the steps of their blocks. What the codes' zeros, or the minima, come to is added by the sums of x's blocks.

// The sums of the lanes of four registers.
AVX2_CODE INLINE __m128 sums_of_8(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

// Up to 8 numbers, and zeros after them. What stands before them may be read: `before` numbers of it.
AVX2_CODE INLINE __m256 halves_avx2(const uint16_t* from, int count, int64_t before) {
  static const uint8_t ahead[32] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,
                                    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128};
  if (count == 8) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from));
  if (before + count >= 8) {
    const __m128i last = _mm_loadu_si128((const __m128i*)(from + count - 8));
    return _mm256_cvtph_ps(_mm_shuffle_epi8(last, _mm_loadu_si128((const __m128i*)(ahead + 2 * (8 - count)))));
  }
  uint16_t some[8] = {0};
  memcpy(some, from, (size_t)count * sizeof *from);
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)some));
}

AVX2_CODE INLINE __m256 floats_avx2(const float* from, int count) {
  static const int32_t some[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return count == 8 ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, _mm256_loadu_si256((const __m256i*)(some + 8 - count)));
}

// Adds one register of codes of each row, by the same columns of each row of x. `steps` are those of 8 blocks, of which `spread` takes the
// ones of this register to its lanes.
AVX2_CODE INLINE void add_avx2(__m256 sums[4][TILE], const __m256 steps[4][TILE], const __m256i* codes, const int8_t* x, int64_t columns,
                               __m256i spread, int rows, int count, int bits, int parts) {
  const __m256i low = _mm256_set1_epi8(15), top = _mm256_set1_epi8(-128);
  __m256i even[4], odd[4];
  for (int r = 0; r < rows; r++) {
    even[r] = bits == 4 ? _mm256_and_si256(codes[r], low) : _mm256_xor_si256(codes[r], top);
    odd[r] = _mm256_and_si256(_mm256_srli_epi16(codes[r], 4), low);
  }
  for (int m = 0; m < count; m++) {
    __m256i dots[4];
    for (int r = 0; r < rows; r++) dots[r] = _mm256_setzero_si256();
    for (int part = 0; part < parts; part++, x += columns) {
      const __m256i given = _mm256_loadu_si256((const __m256i*)x);
      const __m256i more = bits == 4 ? _mm256_loadu_si256((const __m256i*)(x + columns / 2)) : given;
      for (int r = 0; r < rows; r++) {
        // 8 bits are signed here, as two products of unsigned ones by x would not fit
        const __m256i pairs = bits == 4 ? _mm256_add_epi16(_mm256_maddubs_epi16(even[r], given), _mm256_maddubs_epi16(odd[r], more))
                                        : _mm256_maddubs_epi16(_mm256_abs_epi8(even[r]), _mm256_sign_epi8(given, even[r]));
        if (part == 1) dots[r] = _mm256_slli_epi32(dots[r], 8);
        dots[r] = _mm256_add_epi32(dots[r], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      }
    }
    for (int r = 0; r < rows; r++)
      sums[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r]), _mm256_permutevar8x32_ps(steps[r][m], spread), sums[r][m]);
  }
}

AVX2_CODE INLINE void tile_avx2(const Weight* w, const Rounded* x, float* y, int64_t n, int64_t first, int rows, int count, int bits,
                                int parts) {
  const int per = bits == 4 ? 2 : 1;  // blocks in a register
  const int64_t bytes = w->columns * bits / 8;
  const __m256 zero = _mm256_set1_ps(bits == 4 ? -8 : 0), shift = _mm256_set1_ps(bits == 4 ? 0 : 128);
  const __m256i begin = bits == 4 ? _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0) : _mm256_setzero_si256();
  __m256 sums[4][TILE], steps[4][TILE];
  for (int r = 0; r < 4; r++)
    for (int m = 0; m < count; m++) sums[r][m] = _mm256_setzero_ps();
  for (int64_t b = 0; b < w->blocks; b += 8) {
    const int here = w->blocks - b < 8 ? (int)(w->blocks - b) : 8;
    for (int r = 0; r < rows; r++) {
      const int64_t block = (n + r) * w->blocks + b;
      const __m256 scale = halves_avx2(w->scales + block, here, b);
      const __m256 offset =
          w->minima == NULL ? _mm256_mul_ps(zero, scale) : _mm256_fmadd_ps(shift, scale, halves_avx2(w->minima + block, here, b));
      for (int m = 0; m < count; m++) {
        steps[r][m] = _mm256_mul_ps(scale, floats_avx2(x->steps + (first + m) * w->blocks + b, here));
        sums[r][m] = _mm256_fmadd_ps(offset, floats_avx2(x->sums + (first + m) * w->blocks + b, here), sums[r][m]);
      }
    }
    const uint8_t* from = w->codes + n * bytes + b * 4 * bits;
    const int8_t* by = x->codes + first * parts * w->columns + b * BLOCK * bits / 8;
    __m256i codes[4], spread = begin;
    int block = 0;
    for (; block + per <= here; block += per, from += 32, by += 32) {
      for (int r = 0; r < rows; r++) {
        codes[r] = _mm256_loadu_si256((const __m256i*)(from + r * bytes));
        if (count == 1) _mm_prefetch((const char*)from + r * bytes + AHEAD, _MM_HINT_T0);
      }
      add_avx2(sums, steps, codes, by, w->columns, spread, rows, count, bits, parts);
      spread = _mm256_add_epi32(spread, _mm256_set1_epi32(per));
    }
    if (block < here) {
      for (int r = 0; r < rows; r++) codes[r] = _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i*)(from + r * bytes)));
      add_avx2(sums, steps, codes, by, w->columns, spread, rows, count, bits, parts);
    }
  }
  for (int m = 0; m < count; m++) {
    float four[4];
    _mm_storeu_ps(four, sums_of_8(sums[0][m], sums[1][m], sums[2][m], sums[3][m]));
    memcpy(y + (first + m) * w->rows + n, four, (size_t)rows * sizeof *four);
  }
}

VNNI_CODE INLINE __m128 sums_of_16(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m256 first = _mm256_hadd_ps(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)),
                                      _mm256_add_ps(_mm512_castps512_ps256(b), _mm512_extractf32x8_ps(b, 1)));
  const __m256 second = _mm256_hadd_ps(_mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1)),
                                       _mm256_add_ps(_mm512_castps512_ps256(d), _mm512_extractf32x8_ps(d, 1)));
  const __m256 all = _mm256_hadd_ps(first, second);
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

VNNI_CODE INLINE void add_vnni(__m512 sums[4][TILE], const __m512 steps[4][TILE], const __m512i* codes, const int8_t* x, int64_t columns,
                               __m512i spread, int rows, int count, int bits, int parts) {
  const __m512i low = _mm512_set1_epi8(15);
  __m512i even[4], odd[4];
  for (int r = 0; r < rows; r++) {
    even[r] = bits == 4 ? _mm512_and_si512(codes[r], low) : codes[r];
    odd[r] = _mm512_and_si512(_mm512_srli_epi16(codes[r], 4), low);
  }
  for (int m = 0; m < count; m++) {
    __m512i dots[4];
    for (int r = 0; r < rows; r++) dots[r] = _mm512_setzero_si512();
    for (int part = 0; part < parts; part++, x += columns) {
      const __m512i given = _mm512_loadu_si512(x), more = bits == 4 ? _mm512_loadu_si512(x + columns / 2) : given;
      for (int r = 0; r < rows; r++) {
        if (part == 1) dots[r] = _mm512_slli_epi32(dots[r], 8);
        dots[r] = _mm512_dpbusd_epi32(dots[r], even[r], given);
        if (bits == 4) dots[r] = _mm512_dpbusd_epi32(dots[r], odd[r], more);
      }
    }
    for (int r = 0; r < rows; r++)
      sums[r][m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r]), _mm512_permutexvar_ps(spread, steps[r][m]), sums[r][m]);
  }
}

VNNI_CODE INLINE void tile_vnni(const Weight* w, const Rounded* x, float* y, int64_t n, int64_t first, int rows, int count, int bits,
                                int parts) {
  const int per = bits == 4 ? 4 : 2;  // blocks in a register
  const int64_t bytes = w->columns * bits / 8;
  const __m512 zero = _mm512_set1_ps(bits == 4 ? -8 : -128);
  const __m512i begin = bits == 4 ? _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0)
                                  : _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
  __m512 sums[4][TILE], steps[4][TILE];
  for (int r = 0; r < 4; r++)
    for (int m = 0; m < count; m++) sums[r][m] = _mm512_setzero_ps();
  for (int64_t b = 0; b < w->blocks; b += 16) {
    const int here = w->blocks - b < 16 ? (int)(w->blocks - b) : 16;
    const __mmask16 some = (__mmask16)((1u << here) - 1);
    for (int r = 0; r < rows; r++) {
      const __m512 scale = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, w->scales + (n + r) * w->blocks + b));
      const __m512 offset = w->minima == NULL ? _mm512_mul_ps(zero, scale)
                                              : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, w->minima + (n + r) * w->blocks + b));
      for (int m = 0; m < count; m++) {
        steps[r][m] = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(some, x->steps + (first + m) * w->blocks + b));
        sums[r][m] = _mm512_fmadd_ps(offset, _mm512_maskz_loadu_ps(some, x->sums + (first + m) * w->blocks + b), sums[r][m]);
      }
    }
    const uint8_t* from = w->codes + n * bytes + b * 4 * bits;
    const int8_t* by = x->codes + first * parts * w->columns + b * BLOCK * bits / 8;
    __m512i codes[4], spread = begin;
    int block = 0;
    for (; block + per <= here; block += per, from += 64, by += 64) {
      for (int r = 0; r < rows; r++) {
        codes[r] = _mm512_loadu_si512(from + r * bytes);
        if (count == 1) _mm_prefetch((const char*)from + r * bytes + AHEAD, _MM_HINT_T0);
      }
      add_vnni(sums, steps, codes, by, w->columns, spread, rows, count, bits, parts);
      spread = _mm512_add_epi32(spread, _mm512_set1_epi32(per));
    }
    if (block < here) {
      const __mmask64 rest = ~0ull >> (64 - (here - block) * 64 / per);
      for (int r = 0; r < rows; r++) codes[r] = _mm512_maskz_loadu_epi8(rest, from + r * bytes);
      add_vnni(sums, steps, codes, by, w->columns, spread, rows, count, bits, parts);
    }
  }
  for (int m = 0; m < count; m++)
    _mm_mask_storeu_ps(y + (first + m) * w->rows + n, (__mmask8)((1u << rows) - 1),
                       sums_of_16(sums[0][m], sums[1][m], sums[2][m], sums[3][m]));
}

// The numbers of rows, bits and parts are the compiler's to unroll.
#define TILES(FORM, ROWS, COUNT, BITS, PARTS)                                          \
  for (; m + COUNT <= count; m += COUNT) {                                             \
    int64_t n = start;                                                                 \
    for (; n + ROWS <= stop; n += ROWS) FORM(w, x, y, n, m, ROWS, COUNT, BITS, PARTS); \
    for (; n < stop; n++) FORM(w, x, y, n, m, 1, COUNT, BITS, PARTS);                  \
  }
#define EACH(FORM, BITS, PARTS)               \
  if (w->bits == BITS && x->parts == PARTS) { \
    int64_t m = 0;                            \
    TILES(FORM, 2, TILE, BITS, PARTS)         \
    TILES(FORM, 4, 1, BITS, PARTS)            \
  }
#define ROWS_OF(CODE, NAME, FORM)                                                                                  \
  CODE static void NAME(const Weight* w, const Rounded* x, float* y, int64_t count, int64_t start, int64_t stop) { \
    EACH(FORM, 4, 1) EACH(FORM, 4, 2) EACH(FORM, 8, 1) EACH(FORM, 8, 2)                                            \
  }
ROWS_OF(AVX2_CODE, rows_avx2, tile_avx2)
ROWS_OF(VNNI_CODE, rows_vnni, tile_vnni)

static void some_rows(void* argument, size_t task) {
  const Product* p = argument;
  const int64_t start = (int64_t)task * ROWS, stop = start + ROWS < p->weight.rows ? start + ROWS : p->weight.rows;
  p->rows(&p->weight, &p->rounded, p->y, p->count, start, stop);
}

// ---- the operator

typedef struct {
  int64_t rows, columns, bits, exact;
  Rows* form;
} Kernel;

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  Kernel k;
  OrtStatus* failed = KernelInfoGetAttribute_int64(info, "N", &k.rows);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "K", &k.columns);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "bits", &k.bits);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "exact", &k.exact);
  if (failed != NULL) return failed;
  const int small = k.rows <= INT32_MAX && k.columns <= INT32_MAX;  // so that no product of sizes is too large
  if (!small || k.rows < 1 || k.columns < BLOCK || k.columns % BLOCK != 0 || (k.bits != 4 && k.bits != 8))
    return CreateStatus(ORT_INVALID_ARGUMENT, "BlockMatMul: K must be a multiple of 32, N and K below 2^31, and bits 4 or 8");
  k.form = instructions() >= AVX512_VNNI ? rows_vnni : rows_avx2;
  Kernel* kept = malloc(sizeof k);
  if (kept == NULL) return CreateStatus(ORT_FAIL, "BlockMatMul: no memory");
  *kept = k;
  *made = kept;
  return NULL;
}

static OrtStatus* computed(const OrtKernelContext* context, Product* p) {
  const int64_t blocks = p->weight.blocks, bytes = p->count * p->rounded.parts * p->weight.columns + PADDING;
  char* memory = malloc((size_t)(p->count * blocks * 2) * sizeof(float) + (size_t)bytes);
  if (memory == NULL) return CreateStatus(ORT_FAIL, "BlockMatMul: no memory");
  p->rounded.steps = (float*)memory;
  p->rounded.sums = p->rounded.steps + p->count * blocks;
  p->rounded.codes = (int8_t*)(p->rounded.sums + p->count * blocks);
  OrtStatus* failed = NULL;
  if (p->count == 1)
    round_row(p, 0);
  else
    failed = KernelContext_ParallelFor(context, round_row, (size_t)p->count, 0, p);
  if (failed == NULL) failed = KernelContext_ParallelFor(context, some_rows, (size_t)((p->weight.rows + ROWS - 1) / ROWS), 0, p);
  free(memory);
  return failed;
}

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel* k = kernel;
  const void* inputs[4];
  int64_t sizes[4], dims[MAX_RANK];
  size_t rank = 0;
  for (size_t i = 0; i < 4; i++) {
    size_t read = 0;
    OrtStatus* failed = read_input(context, i, &inputs[i], i == 0 ? dims : NULL, &read, &sizes[i]);
    if (failed != NULL) return failed;
    if (i == 0) rank = read;
  }
  const int64_t blocks = k->columns / BLOCK;
  if (rank < 1 || dims[rank - 1] != k->columns || sizes[1] != k->rows * k->columns * k->bits / 8 || sizes[2] != k->rows * blocks ||
      (inputs[3] != NULL && sizes[3] != sizes[2]))
    return CreateStatus(ORT_INVALID_ARGUMENT, "BlockMatMul: the inputs' sizes are not those of N and K");
  dims[rank - 1] = k->rows;
  void* y = NULL;
  OrtStatus* failed = make_output(context, 0, dims, rank, &y);
  if (failed != NULL || sizes[0] == 0) return failed;
  Product p = {
      .x = inputs[0],
      .y = y,
      .weight = {inputs[1], inputs[2], inputs[3], k->rows, k->columns, blocks, (int)k->bits},
      .rounded = {.parts = k->exact ? 2 : 1},
      .count = sizes[0] / k->columns,
      .rows = k->form,
  };
  return computed(context, &p);
}

static const char* name(const OrtCustomOp* op) { return "BlockMatMul"; }
static size_t inputs(const OrtCustomOp* op) { return 4; }
static size_t outputs(const OrtCustomOp* op) { return 1; }
static int input_type(const OrtCustomOp* op, size_t i) { return i == 0 ? ORT_FLOAT : i == 1 ? ORT_UINT8 : ORT_FLOAT16; }
static int output_type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return i == 3 ? ORT_OPTIONAL : ORT_REQUIRED; }
static int output_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }

const OrtCustomOp BLOCK_MATMUL = {
    .version = ORT_VERSION,
    .GetName = name,
    .GetExecutionProviderType = cpu,
    .GetInputTypeCount = inputs,
    .GetInputType = input_type,
    .GetInputCharacteristic = input_kind,
    .GetInputMemoryType = on_cpu,
    .GetOutputTypeCount = outputs,
    .GetOutputType = output_type,
    .GetOutputCharacteristic = output_kind,
    .CreateKernelV2 = create,
    .KernelComputeV2 = compute,
    .KernelDestroy = free,
    .GetStartVersion = first_version,
    .GetEndVersion = last_version,
};
