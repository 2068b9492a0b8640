// y = x @ weight + bias, on processors whose matrix unit (AMX) multiplies bfloat16 numbers: 16 times as many as their vectors do float32.
//
// A float32 number is the sum of three of bfloat16, of 8 bits each: of the nine products of two such sums, the six largest are taken, and
// what is left out is below 2^-25 of the whole product, less than float32 rounds it by. Products are added up in float32. So the error is
// that of float32 (it is measured against float64 in the tests) in 6/16 of the time. The unit takes parts below 2^-126 for 0.
//
// Both matrices lie in blocks of 32 rows, or columns, by 32 along the depth: three parts of two tiles each, in the order in which they are
// read. Those of the weight are made once. A block of rows with a number that is not finite, and x of few rows, is multiplied by vectors.
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { TILE = 16, BLOCK = 32, PARTS = 3, HALF = TILE * BLOCK, PART = 2 * HALF, WHOLE = PARTS * PART };  // numbers in tiles and blocks
enum { WILD = 0x7f7f8000, FEW = 8, THREADS = 128 };     // what is not finite is from there on; rows that vectors multiply; threads, at most
enum { AT_ONCE = 1 << 22, NEAR = 1 << 19, DEEP = 24 };  // numbers of x's parts at a time, and in a cache; blocks along the depth, as well

#define VECTOR_CODE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma")))
#define TILE_CODE __attribute__((target("amx-tile,amx-bf16")))
#define INLINE static inline __attribute__((always_inline))

static int64_t parts(int64_t whole, int64_t most) { return (whole + most - 1) / most; }

// ---- splitting

// The three parts of 16 numbers, as float32 whose lower halves are zeros. Each remainder is exact: it has no more bits than are left.
VECTOR_CODE INLINE void split(__m512i x, __m512i* to) {
  const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32(0xffff << 16);
  for (int p = 0; p < PARTS; p++) {
    to[p] = _mm512_and_si512(_mm512_add_epi32(x, half), upper);
    x = (__m512i)_mm512_sub_ps((__m512)x, (__m512)to[p]);
  }
}

// The larger of magnitudes, as integers: those of numbers that are not finite, or would be rounded to infinity, are from WILD on.
VECTOR_CODE INLINE __m512i larger(__m512i most, __m512i x) {
  return _mm512_max_epu32(most, _mm512_and_si512(x, _mm512_set1_epi32(INT32_MAX)));
}

VECTOR_CODE INLINE int tame(__m512i most) { return _mm512_reduce_max_epu32(most) < WILD; }

VECTOR_CODE INLINE __mmask16 there(int64_t left) { return left <= 0 ? 0 : left < TILE ? (__mmask16)((1u << left) - 1) : 0xffff; }

// 32 rows of x, of which `rows` are there. Says whether all numbers are finite.
VECTOR_CODE static int split_rows(const float* x, int64_t rows, int64_t depth, uint16_t* to) {
  static const uint16_t odd[BLOCK] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                      33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const __m512i upper = _mm512_loadu_si512(odd);
  __m512i most = _mm512_setzero_si512();
  for (int64_t k = 0; k < depth; k += BLOCK, to += WHOLE) {
    const __mmask16 first = there(depth - k), second = there(depth - k - TILE);
    for (int64_t r = 0; r < BLOCK; r++) {
      const float* from = x + r * depth + k;
      const __m512i left = _mm512_maskz_loadu_epi32(r < rows ? first : 0, from),
                    right = _mm512_maskz_loadu_epi32(r < rows ? second : 0, from + TILE);
      __m512i a[PARTS], b[PARTS];
      split(left, a);
      split(right, b);
      most = larger(larger(most, left), right);
      for (int p = 0; p < PARTS; p++) _mm512_store_si512(to + p * PART + r * BLOCK, _mm512_permutex2var_epi16(a[p], upper, b[p]));
    }
  }
  return tame(most);
}

// 32 columns of a weight [depth, width], two rows of which lie side by side. Says whether all numbers are finite.
VECTOR_CODE static int split_columns(const float* weight, int64_t depth, int64_t width, int64_t first, uint16_t* to) {
  __m512i most = _mm512_setzero_si512();
  for (int64_t k = 0; k < depth; k += BLOCK, to += WHOLE)
    for (int64_t pair = 0; pair < TILE; pair++)
      for (int64_t tile = 0; tile < 2; tile++) {
        const int64_t row = k + 2 * pair, column = first + tile * TILE;
        const __mmask16 some = there(width - column);
        const float* from = weight + row * width + column;
        const __m512i even = _mm512_maskz_loadu_epi32(row < depth ? some : 0, from);
        const __m512i odd = _mm512_maskz_loadu_epi32(row + 1 < depth ? some : 0, from + width);
        __m512i a[PARTS], b[PARTS];
        split(even, a);
        split(odd, b);
        most = larger(larger(most, even), odd);
        for (int p = 0; p < PARTS; p++)
          _mm512_store_si512(to + p * PART + tile * HALF + pair * BLOCK, _mm512_or_si512(_mm512_srli_epi32(a[p], 16), b[p]));
      }
  return tame(most);
}

// ---- products

typedef struct {
  const float *x, *weight;
  float *bias, *y;  // bias: of as many numbers as there are columns in blocks, or null
  const uint16_t* columns;
  uint16_t* rows;
  uint8_t* finite;  // of each block of rows
  int64_t count, depth, width, near, deep;
  _Atomic int64_t taken, done;
} Product;

// Some rows by some columns, by vectors.
VECTOR_CODE static void by_vectors(const Product* p, int64_t first, int64_t rows, int64_t column, int64_t columns) {
  for (int64_t r = first; r < first + rows; r++)
    for (int64_t c = column; c < column + columns; c += 4 * TILE) {
      __m512 sums[4];
      __mmask16 some[4];
      for (int64_t v = 0; v < 4; v++) {
        some[v] = there(column + columns - c - v * TILE);
        sums[v] = p->bias == NULL ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(some[v], p->bias + c + v * TILE);
      }
      const float *x = p->x + r * p->depth, *w = p->weight + c;
      for (int64_t k = 0; k < p->depth; k++, w += p->width)
        for (int64_t v = 0; v < 4; v++)
          sums[v] = _mm512_fmadd_ps(_mm512_set1_ps(x[k]), _mm512_maskz_loadu_ps(some[v], w + v * TILE), sums[v]);
      for (int64_t v = 0; v < 4; v++) _mm512_mask_storeu_ps(p->y + r * p->width + c + v * TILE, some[v], sums[v]);
    }
}

static void few_rows(void* argument, size_t task) {
  const Product* p = argument;
  const int64_t column = (int64_t)task * 4 * BLOCK, left = p->width - column;
  by_vectors(p, 0, p->count, column, left < 4 * BLOCK ? left : 4 * BLOCK);
}

typedef struct {
  uint8_t palette, start, none[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} Tiles;

TILE_CODE static void begin_tiles(void) {
  Tiles t = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    t.bytes[i] = BLOCK * sizeof(uint16_t);
    t.rows[i] = TILE;
  }
  __asm__ volatile("" : : "r"(&t) : "memory");  // or GCC forgets to write what it does not see read
  _tile_loadconfig(&t);
}

TILE_CODE static void end_tiles(void) { _tile_release(); }

#define ROWS_PART(p)                              \
  _tile_loadd(4, b.rows + (p) * PART, 2 * BLOCK); \
  if (both) _tile_loadd(5, b.rows + (p) * PART + HALF, 2 * BLOCK);
#define COLUMNS_PART(p)                              \
  _tile_loadd(6, b.columns + (p) * PART, 2 * BLOCK); \
  _tile_loadd(7, b.columns + (p) * PART + HALF, 2 * BLOCK);
#define MULTIPLY             \
  _tile_dpbf16ps(0, 4, 6);   \
  _tile_dpbf16ps(1, 4, 7);   \
  if (both) {                \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7); \
  }

// Some numbers to start from or to write to, and how many bytes a row of them is from the next.
typedef struct {
  float* numbers;
  int64_t step;
} Place;

INLINE float* lower(Place place) { return (float*)((char*)place.numbers + TILE * place.step); }

// What is read: so many blocks along the depth.
typedef struct {
  const uint16_t *rows, *columns;
  int64_t count;
} Blocks;

// A block of 32 rows, or the first 16 of it, by one of 32 columns. Small products come first, so that they are not lost beside large ones.
TILE_CODE INLINE void by_tiles(Blocks b, Place from, Place to, int both) {
  _tile_loadd(0, from.numbers, from.step);
  _tile_loadd(1, from.numbers + TILE, from.step);
  if (both) {
    _tile_loadd(2, lower(from), from.step);
    _tile_loadd(3, lower(from) + TILE, from.step);
  }
  for (int64_t k = 0; k < b.count; k++, b.rows += WHOLE, b.columns += WHOLE) {
    ROWS_PART(0)
    COLUMNS_PART(2)
    MULTIPLY
    COLUMNS_PART(1)
    MULTIPLY
    ROWS_PART(1)
    MULTIPLY
    COLUMNS_PART(0)
    MULTIPLY
    ROWS_PART(2)
    MULTIPLY
    ROWS_PART(0)
    MULTIPLY
  }
  _tile_stored(0, to.numbers, to.step);
  _tile_stored(1, to.numbers + TILE, to.step);
  if (both) {
    _tile_stored(2, lower(to), to.step);
    _tile_stored(3, lower(to) + TILE, to.step);
  }
}

// Adds to y what these blocks come to; the first of them to the bias.
TILE_CODE static void one_block(const Product* p, int64_t block, int64_t columns, const Blocks* b, int first) {
  static float none[BLOCK];
  const int64_t row = block * BLOCK, column = columns * BLOCK;
  const int64_t height = p->count - row < BLOCK ? p->count - row : BLOCK, width = p->width - column < BLOCK ? p->width - column : BLOCK;
  float aside[BLOCK * BLOCK], *y = p->y + row * p->width + column;
  const int fits = height % TILE == 0 && width == BLOCK;
  const Place to = fits ? (Place){y, p->width * (int64_t)sizeof *y} : (Place){aside, BLOCK * sizeof *y};
  const Place each = {p->bias == NULL ? none : p->bias + column, 0};  // each row of it is the same
  for (int64_t r = 0; r < height && !fits && !first; r++) memcpy(aside + r * BLOCK, y + r * p->width, (size_t)width * sizeof *y);
  if (height > TILE)
    by_tiles(*b, first ? each : to, to, 1);
  else
    by_tiles(*b, first ? each : to, to, 0);
  for (int64_t r = 0; r < height && !fits; r++) memcpy(y + r * p->width, aside + r * BLOCK, (size_t)width * sizeof *y);
}

static void split_block(const Product* p, int64_t block) {
  const int64_t row = block * BLOCK, left = p->count - row;
  uint16_t* to = p->rows + row * PARTS * parts(p->depth, BLOCK) * BLOCK;
  p->finite[block] = (uint8_t)split_rows(p->x + row * p->depth, left < BLOCK ? left : BLOCK, p->depth, to);
}

static int64_t tasks(const Product* p) { return parts(p->width, BLOCK) * parts(parts(p->count, BLOCK), p->near); }

// Some blocks of rows, which stay near, by one of columns, for a part of the depth.
static void some_blocks(const Product* p, int64_t task) {
  const int64_t across = parts(p->width, BLOCK), all = parts(p->count, BLOCK), down = parts(p->depth, BLOCK), each = down * WHOLE;
  const int64_t part = task / tasks(p), columns = task % across, start = task % tasks(p) / across * p->near;
  const int64_t stop = start + p->near < all ? start + p->near : all, first = part * p->deep;
  Blocks b = {.columns = p->columns + columns * each + first * WHOLE, .count = down - first < p->deep ? down - first : p->deep};
  for (int64_t block = start; block < stop; block++) {
    b.rows = p->rows + block * each + first * WHOLE;
    if (p->finite[block]) {
      one_block(p, block, columns, &b, part == 0);
    } else if (part == 0) {
      const int64_t row = block * BLOCK, column = columns * BLOCK, height = p->count - row, width = p->width - column;
      by_vectors(p, row, height < BLOCK ? height : BLOCK, column, width < BLOCK ? width : BLOCK);
    }
  }
}

// Each thread takes what is next: first rows to split, then products, each part of the depth once all before it is done.
static void work(void* argument, size_t number) {
  Product* p = argument;
  const int64_t blocks = parts(p->count, BLOCK), each = tasks(p), all = blocks + each * parts(parts(p->depth, BLOCK), p->deep);
  if (atomic_load(&p->taken) >= all) return;
  begin_tiles();
  for (int64_t i = atomic_fetch_add(&p->taken, 1); i < all; i = atomic_fetch_add(&p->taken, 1)) {
    if (i < blocks) {
      split_block(p, i);
    } else {
      while (atomic_load(&p->done) < blocks + (i - blocks) / each * each) _mm_pause();
      some_blocks(p, i - blocks);
    }
    atomic_fetch_add(&p->done, 1);
  }
  end_tiles();
}

// ---- the operator

typedef struct {
  int64_t depth, width;
  uint16_t* columns;  // null where a number of the weight is not finite
  float* bias;
} Kernel;

static _Atomic(Memory*) spare;

static void destroy(void* kernel) {
  Kernel* k = kernel;
  free(k->columns);
  free(k->bias);
  free(k);
}

static OrtStatus* prepared(Kernel* k, const OrtKernelInfo* info) {
  const float *weight = NULL, *bias = NULL;
  int64_t dims[2], size = 0;
  size_t inputs = 0;
  OrtStatus* failed = KernelInfo_GetInputCount(info, &inputs);
  if (failed == NULL) failed = read_constant(info, 1, &weight, dims, 2);
  if (failed != NULL) return failed;
  if (weight == NULL || dims[0] < 1 || dims[1] < 1) return CreateStatus(ORT_INVALID_ARGUMENT, "Linear: the weight must be a constant");
  k->depth = dims[0];
  k->width = dims[1];
  const int64_t across = parts(k->width, BLOCK), each = parts(k->depth, BLOCK) * WHOLE;
  if (inputs > 2) {
    failed = read_constant(info, 2, &bias, &size, 1);
    if (failed != NULL) return failed;
    if (bias == NULL || size != k->width)
      return CreateStatus(ORT_INVALID_ARGUMENT, "Linear: the bias must be a constant of the weight's width");
    k->bias = aligned_alloc(64, (size_t)(across * BLOCK) * sizeof *bias);
    if (k->bias == NULL) return CreateStatus(ORT_FAIL, "Linear: no memory");
    memset(k->bias, 0, (size_t)(across * BLOCK) * sizeof *bias);
    memcpy(k->bias, bias, (size_t)k->width * sizeof *bias);
  }
  k->columns = aligned_alloc(64, (size_t)(across * each) * sizeof *k->columns);
  if (k->columns == NULL) return CreateStatus(ORT_FAIL, "Linear: no memory");
  int finite = 1;
  for (int64_t i = 0; i < across; i++) finite &= split_columns(weight, k->depth, k->width, i * BLOCK, k->columns + i * each);
  if (!finite) {
    free(k->columns);
    k->columns = NULL;
  }
  return NULL;
}

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  Kernel* k = calloc(1, sizeof *k);
  if (k == NULL) return CreateStatus(ORT_FAIL, "Linear: no memory");
  OrtStatus* failed = prepared(k, info);
  if (failed != NULL)
    destroy(k);
  else
    *made = k;
  return failed;
}

static OrtStatus* by_matrix_unit(const OrtKernelContext* context, Product* p) {
  const int64_t each = parts(p->depth, BLOCK) * WHOLE, all = p->count;
  int64_t most = AT_ONCE / (each / BLOCK) / BLOCK;
  if (most < 1) most = 1;
  const int64_t blocks = parts(all, BLOCK) < most ? parts(all, BLOCK) : most;
  const size_t size = (size_t)parts(blocks * each * (int64_t)sizeof *p->rows + blocks, 64) * 64;
  Memory* memory = take(&spare, size);
  if (memory == NULL) return CreateStatus(ORT_FAIL, "Linear: no memory");
  p->rows = (uint16_t*)(memory + 1);
  p->finite = (uint8_t*)(p->rows + blocks * each);
  const int64_t down = parts(p->depth, BLOCK);
  p->deep = parts(down, parts(down, DEEP));
  p->near = NEAR / (p->deep * WHOLE);
  OrtStatus* failed = NULL;
  for (int64_t row = 0; row < all && failed == NULL; row += blocks * BLOCK) {
    p->count = all - row < blocks * BLOCK ? all - row : blocks * BLOCK;
    p->taken = p->done = 0;
    failed = KernelContext_ParallelFor(context, work, THREADS, THREADS, p);
    p->x += p->count * p->depth;
    p->y += p->count * p->width;
  }
  give(&spare, memory);
  return failed;
}

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel* k = kernel;
  const void *x = NULL, *weight = NULL;
  int64_t dims[MAX_RANK], count = 0, size = 0;
  size_t rank = 0, flat = 0;
  void* y = NULL;
  OrtStatus* failed = read_input(context, 0, &x, dims, &rank, &count);
  if (failed == NULL) failed = read_input(context, 1, &weight, NULL, &flat, &size);
  if (failed != NULL) return failed;
  if (rank < 1 || dims[rank - 1] != k->depth || size != k->depth * k->width)
    return CreateStatus(ORT_INVALID_ARGUMENT, "Linear: the last dimension of x must be the weight's first");
  dims[rank - 1] = k->width;
  failed = make_output(context, 0, dims, rank, &y);
  if (failed != NULL || count == 0) return failed;
  Product p = {.x = x, .weight = weight, .bias = k->bias, .y = y, .columns = k->columns, .depth = k->depth, .width = k->width};
  p.count = count / k->depth;
  if (p.count > FEW && k->columns != NULL) return by_matrix_unit(context, &p);
  return KernelContext_ParallelFor(context, few_rows, (size_t)parts(p.width, 4 * BLOCK), 0, &p);
}

static const char* name(const OrtCustomOp* op) { return "Linear"; }
static size_t inputs(const OrtCustomOp* op) { return 3; }
static size_t outputs(const OrtCustomOp* op) { return 1; }
static int type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return i == 2 ? ORT_OPTIONAL : ORT_REQUIRED; }
static int output_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }

const OrtCustomOp LINEAR = {
    .version = ORT_VERSION,
    .GetName = name,
    .GetExecutionProviderType = cpu,
    .GetInputTypeCount = inputs,
    .GetInputType = type,
    .GetInputCharacteristic = input_kind,
    .GetInputMemoryType = on_cpu,
    .GetOutputTypeCount = outputs,
    .GetOutputType = type,
    .GetOutputCharacteristic = output_kind,
    .CreateKernelV2 = create,
    .KernelComputeV2 = compute,
    .KernelDestroy = destroy,
    .GetStartVersion = first_version,
    .GetEndVersion = last_version,
};
