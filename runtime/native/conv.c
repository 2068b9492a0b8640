// y = conv(x, weight) + bias: 3 by 3, stride 1, by Winograd's F(2 x 2, 3 x 3).
//
// A tile is 2 by 2 outputs, of 4 by 4 inputs. Tiles and filters are transformed to 16 points, at each of which a product of matrices adds
// up the channels: 16 multiplications where the definition has 36. Lanes are tiles, so that transforms need no gathering. Sums err as those
// of the definition do, relative to the largest number of a tile; where one is not finite, the tile is computed by the definition.
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { POINTS = 16, VECTORS = 3, NEAR = 1 << 20, TASKS = 16, THREADS = 128 };

#define AVX2_CODE __attribute__((target("avx2,fma")))
#define AVX512_CODE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define INLINE static inline __attribute__((always_inline))

typedef struct Convolution Convolution;
typedef struct Block Block;

// For each kind of processor: lanes of a vector, filters of a panel, and the work on some channels, or panels, of a block.
typedef struct {
  int64_t lanes, rows;
  void (*transform)(const Convolution*, const Block*, int64_t begin, int64_t end);
  void (*filter)(const Convolution*, const Block*, int64_t begin, int64_t end);
} Form;

struct Convolution {
  const Form* form;
  const float *x, *weight;
  const float *panels, *bias;  // [filters / form's rows, POINTS, channels, form's rows]; [filters]
  float *y, *points;           // [blocks, POINTS, stride]
  int64_t images, channels, height, width, filters, rows, columns, top, left;  // rows and columns of y
  int64_t down, across, tiles, together;                                       // tiles of an image, of all, and of a block
  int64_t blocks, groups;                                                      // of a block are that many tasks, where there are few
  atomic_long taken;
};

static int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Tiles that lie side by side, of the tiles from `tile` up to `stop`.
typedef struct {
  int64_t image, row, column, count;
} Run;

static Run run_of(const Convolution* c, int64_t tile, int64_t stop) {
  const int64_t row = tile / c->across, column = tile % c->across, rest = c->across - column;
  return (Run){row / c->down, row % c->down, column, stop - tile < rest ? stop - tile : rest};
}

// Of a block: its first tile, the one after its last, and the numbers from one point to the next, and from one channel.
struct Block {
  int64_t first, stop, stride, room;
  float* points;
};

// With its points in one of the places of memory.
static Block block_of(const Convolution* c, int64_t number, int64_t place) {
  const int64_t first = number * c->together, rest = c->tiles - first, room = c->together + c->form->lanes;
  const int64_t stride = c->channels * room + c->form->lanes;  // no power of two, at which points would share places in the cache
  return (Block){first, first + (rest < c->together ? rest : c->together), stride, room, c->points + place * POINTS * stride};
}

// ---- filters, and the definition

static void filter_to_points(const float* filter, float* panel, int64_t stride) {
  float t[4][3];
  for (int j = 0; j < 3; j++) {
    t[0][j] = filter[j];
    t[1][j] = (filter[j] + filter[3 + j] + filter[6 + j]) / 2;
    t[2][j] = (filter[j] - filter[3 + j] + filter[6 + j]) / 2;
    t[3][j] = filter[6 + j];
  }
  for (int i = 0; i < 4; i++) {
    panel[4 * i * stride] = t[i][0];
    panel[(4 * i + 1) * stride] = (t[i][0] + t[i][1] + t[i][2]) / 2;
    panel[(4 * i + 2) * stride] = (t[i][0] - t[i][1] + t[i][2]) / 2;
    panel[(4 * i + 3) * stride] = t[i][2];
  }
}

// The outputs of a tile by the definition.
static void define(const Convolution* c, int64_t image, int64_t filter, int64_t row, int64_t column) {
  for (int64_t i = 2 * row; i < 2 * row + 2 && i < c->rows; i++)
    for (int64_t j = 2 * column; j < 2 * column + 2 && j < c->columns; j++) {
      float sum = 0;
      for (int64_t channel = 0; channel < c->channels; channel++)
        for (int64_t a = 0; a < 3; a++)
          for (int64_t b = 0; b < 3; b++) {
            const int64_t h = i + a - c->top, w = j + b - c->left;
            if (h >= 0 && h < c->height && w >= 0 && w < c->width)
              sum += c->x[((image * c->channels + channel) * c->height + h) * c->width + w] *
                     c->weight[((filter * c->channels + channel) * 3 + a) * 3 + b];
          }
      c->y[((image * c->filters + filter) * c->rows + i) * c->columns + j] = sum + c->bias[filter];
    }
}

// ---- forms

typedef __m256i avx2_mask;

AVX2_CODE INLINE avx2_mask avx2_between(int32_t from, int32_t to) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane));
}

AVX2_CODE INLINE __m256 avx2_some(avx2_mask mask, const float* from) { return _mm256_maskload_ps(from, mask); }
AVX2_CODE INLINE void avx2_put(avx2_mask mask, float* to, __m256 x) { _mm256_maskstore_ps(to, mask, x); }

// Lanes in which x - x is not 0.
AVX2_CODE INLINE unsigned avx2_not_finite(__m256 x) {
  return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(_mm256_sub_ps(x, x), _mm256_setzero_ps(), _CMP_NEQ_UQ));
}

#define FORM avx2
#define LANES 8
#define ROWS 4
#define INSTRUCTIONS AVX2_CODE
#define EVEN {0, 2, 4, 6, 8, 10, 12, 14}
#define ODD {1, 3, 5, 7, 9, 11, 13, 15}
#define LOW {0, 8, 1, 9, 2, 10, 3, 11}
#define HIGH {4, 12, 5, 13, 6, 14, 7, 15}
#include "conv.h"

typedef __mmask16 avx512_mask;

INLINE avx512_mask avx512_between(int32_t from, int32_t to) { return (avx512_mask)(((1u << to) - 1) & ~((1u << from) - 1)); }
AVX512_CODE INLINE __m512 avx512_some(avx512_mask mask, const float* from) { return _mm512_maskz_loadu_ps(mask, from); }
AVX512_CODE INLINE void avx512_put(avx512_mask mask, float* to, __m512 x) { _mm512_mask_storeu_ps(to, mask, x); }

AVX512_CODE INLINE unsigned avx512_not_finite(__m512 x) {
  return _mm512_cmp_ps_mask(_mm512_sub_ps(x, x), _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

#define FORM avx512
#define LANES 16
#define ROWS 8
#define INSTRUCTIONS AVX512_CODE
#define EVEN {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}
#define ODD {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}
#define LOW {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}
#define HIGH {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}
#include "conv.h"

// ---- tasks

// Many blocks: each thread takes what is next, and its points stay near.
static void whole(void* argument, size_t place) {
  Convolution* c = argument;
  for (int64_t i = atomic_fetch_add(&c->taken, 1); i < c->blocks; i = atomic_fetch_add(&c->taken, 1)) {
    const Block b = block_of(c, i, (int64_t)place);
    c->form->transform(c, &b, 0, c->channels);
    c->form->filter(c, &b, 0, parts(c->filters, c->form->rows));
  }
}

// Few blocks: their channels are parted, and then their filters.
static void part_of_channels(void* argument, size_t task) {
  const Convolution* c = argument;
  const int64_t number = (int64_t)task / c->groups, each = parts(c->channels, c->groups), begin = (int64_t)task % c->groups * each;
  const Block b = block_of(c, number, number);
  c->form->transform(c, &b, begin, begin + each < c->channels ? begin + each : c->channels);
}

static void part_of_filters(void* argument, size_t task) {
  const Convolution* c = argument;
  const int64_t panels = parts(c->filters, c->form->rows), each = parts(panels, c->groups), begin = (int64_t)task % c->groups * each;
  const Block b = block_of(c, (int64_t)task / c->groups, (int64_t)task / c->groups);
  c->form->filter(c, &b, begin, begin + each < panels ? begin + each : panels);
}

// ---- the operator

typedef struct {
  int64_t filters, channels, top, left, bottom, right;
  const Form* form;
  float *panels, *bias;
} Kernel;

static _Atomic(Memory*) spare;

static void destroy(void* kernel) {
  Kernel* k = kernel;
  free(k->panels);
  free(k->bias);
  free(k);
}

static OrtStatus* prepared(Kernel* k, const OrtKernelInfo* info) {
  const float *weight = NULL, *bias = NULL;
  int64_t dims[4], size = 0;
  OrtStatus* failed = KernelInfoGetAttribute_int64(info, "top", &k->top);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "left", &k->left);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "bottom", &k->bottom);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "right", &k->right);
  if (failed == NULL) failed = read_constant(info, 1, &weight, dims, 4);
  if (failed == NULL) failed = read_constant(info, 2, &bias, &size, 1);
  if (failed != NULL) return failed;
  if (weight == NULL || bias == NULL || dims[0] < 1 || dims[1] < 1 || dims[2] != 3 || dims[3] != 3 || size != dims[0])
    return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: the filters must be constants of 3 by 3, with a constant bias");
  k->filters = dims[0];
  k->channels = dims[1];
  k->form = instructions() >= AVX512_VNNI ? &avx512 : &avx2;
  const int64_t rows = k->form->rows, panels = parts(k->filters, rows), each = POINTS * k->channels * rows;
  k->panels = aligned_alloc(64, (size_t)(panels * each) * sizeof(float));
  k->bias = malloc((size_t)k->filters * sizeof(float));
  if (k->panels == NULL || k->bias == NULL) return CreateStatus(ORT_FAIL, "Conv: no memory");
  memset(k->panels, 0, (size_t)(panels * each) * sizeof(float));
  memcpy(k->bias, bias, (size_t)k->filters * sizeof(float));
  for (int64_t f = 0; f < k->filters; f++)
    for (int64_t channel = 0; channel < k->channels; channel++)
      filter_to_points(weight + (f * k->channels + channel) * 9, k->panels + f / rows * each + channel * rows + f % rows,
                       k->channels * rows);
  return NULL;
}

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  Kernel* k = calloc(1, sizeof *k);
  if (k == NULL) return CreateStatus(ORT_FAIL, "Conv: no memory");
  OrtStatus* failed = prepared(k, info);
  if (failed != NULL)
    destroy(k);
  else
    *made = k;
  return failed;
}

// Blocks have as many tiles as keep their points near.
static OrtStatus* run(const OrtKernelContext* context, Convolution* c) {
  const int64_t lanes = c->form->lanes, fit = NEAR / (POINTS * c->channels * lanes * (int64_t)sizeof(float));
  c->down = parts(c->rows, 2);
  c->across = parts(c->columns, 2);
  c->tiles = c->images * c->down * c->across;
  c->together = lanes * (fit < 1 ? 1 : fit > VECTORS ? VECTORS : fit);
  c->blocks = parts(c->tiles, c->together);
  const int64_t places = c->blocks < THREADS ? c->blocks : THREADS;
  Memory* memory = take(&spare, (size_t)(places * POINTS * block_of(c, 0, 0).stride) * sizeof(float));
  if (memory == NULL) return CreateStatus(ORT_FAIL, "Conv: no memory");
  c->points = (float*)(memory + 1);
  OrtStatus* failed = NULL;
  if (c->blocks >= TASKS) {
    failed = KernelContext_ParallelFor(context, whole, (size_t)places, (size_t)places, c);
  } else {
    c->groups = parts(TASKS, c->blocks);
    const size_t tasks = (size_t)(c->blocks * c->groups);
    failed = KernelContext_ParallelFor(context, part_of_channels, tasks, tasks, c);
    if (failed == NULL) failed = KernelContext_ParallelFor(context, part_of_filters, tasks, tasks, c);
  }
  give(&spare, memory);
  return failed;
}

enum { X, WEIGHT, BIAS, INPUTS };

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel* k = kernel;
  const void* read[INPUTS];
  int64_t dims[INPUTS][MAX_RANK], sizes[INPUTS] = {0};
  size_t ranks[INPUTS];
  for (size_t i = 0; i < INPUTS; i++) {
    OrtStatus* failed = read_input(context, i, &read[i], dims[i], &ranks[i], &sizes[i]);
    if (failed != NULL) return failed;
  }
  if (ranks[X] != 4 || dims[X][1] != k->channels || sizes[WEIGHT] != k->filters * k->channels * 9)
    return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: x must have rank 4, and the filters' channels");
  Convolution c = {.form = k->form, .x = read[X], .weight = read[WEIGHT], .panels = k->panels, .bias = k->bias};
  c.images = dims[X][0], c.channels = k->channels, c.height = dims[X][2], c.width = dims[X][3];
  c.filters = k->filters, c.top = k->top, c.left = k->left;
  c.rows = c.height + k->top + k->bottom - 2, c.columns = c.width + k->left + k->right - 2;
  if (c.rows < 0 || c.columns < 0) return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: x is smaller than the filters");
  const int64_t y_dims[4] = {c.images, c.filters, c.rows, c.columns};
  void* y = NULL;
  OrtStatus* failed = make_output(context, 0, y_dims, 4, &y);
  c.y = y;
  return failed != NULL || c.images * c.filters * c.rows * c.columns == 0 ? failed : run(context, &c);
}

static const char* name(const OrtCustomOp* op) { return "Conv"; }
static size_t inputs(const OrtCustomOp* op) { return INPUTS; }
static size_t outputs(const OrtCustomOp* op) { return 1; }
static int type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }
static int output_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }

const OrtCustomOp CONV = {
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
