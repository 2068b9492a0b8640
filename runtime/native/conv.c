// y = conv(x, weight) + bias + sum, and what is negative to zero if asked: 3 by 3, stride 1, by Winograd's F(2 x 2, 3 x 3).
//
// A tile is 2 by 2 outputs, of 4 by 4 inputs. Tiles and filters are transformed to 16 points, at each of which a product of matrices adds
// up the channels: 16 multiplications where the definition has 36. Lanes are tiles, so that transforms need no gathering. Sums err as those
// of the definition do, relative to the largest number of a tile; where one is not finite, the tile is computed by the definition.
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { LANES = 16, ROWS = 8, POINTS = 16, VECTORS = 3, NEAR = 1 << 20, TASKS = 16, THREADS = 128 };
enum { NOT_FINITE = 0x99 };  // either NaN, either infinity

#define AVX512_CODE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define INLINE static inline __attribute__((always_inline))

typedef struct {
  const float *x, *weight, *sum;                                               // sum: as y, or null
  const float *panels, *bias;                                                  // [filters / ROWS, POINTS, channels, ROWS]; [filters]
  float *y, *points;                                                           // [blocks, POINTS, stride]
  int64_t images, channels, height, width, filters, rows, columns, top, left;  // rows and columns of y
  int64_t down, across, tiles, together;                                       // tiles of an image, of all, and of a block
  int64_t blocks, groups;                                                      // of a block are that many tasks, where there are few
  int relu;
  atomic_long taken;
} Convolution;

static int64_t parts(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

// Tiles that lie side by side, of the tiles from `tile` up to `stop`.
typedef struct {
  int64_t image, row, column, count;
} Run;

static Run run_of(const Convolution* c, int64_t tile, int64_t stop) {
  const int64_t row = tile / c->across, column = tile % c->across, rest = c->across - column;
  return (Run){row / c->down, row % c->down, column, stop - tile < rest ? stop - tile : rest};
}

// Which of 16 numbers from `first` on are in a row of `size`.
static __mmask16 inside(int64_t first, int64_t size) {
  const int64_t from = first < 0 ? -first : 0, to = size - first;
  if (from >= LANES || to <= from) return 0;
  return (__mmask16)((to >= LANES ? 0xffffu : (1u << to) - 1) & ~((1u << from) - 1));
}

// ---- to points

// 16 tiles of one channel.
AVX512_CODE static void to_points(const Convolution* c, const float* plane, int64_t row, int64_t column, float* v, int64_t stride) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  const int64_t first = 2 * column - c->left;
  const __mmask16 masks[4] = {inside(first, c->width), inside(first + LANES, c->width), inside(first + 2, c->width),
                              inside(first + 2 + LANES, c->width)};
  __m512 t[4][4];
  for (int i = 0; i < 4; i++) {
    const int64_t r = 2 * row + i - c->top;
    const int in = r >= 0 && r < c->height;
    const float* from = plane + (in ? r * c->width : 0) + first;
    const __mmask16 all = in ? 0xffff : 0;
    const __m512 a = _mm512_maskz_loadu_ps(masks[0] & all, from), b = _mm512_maskz_loadu_ps(masks[1] & all, from + LANES);
    const __m512 d = _mm512_maskz_loadu_ps(masks[2] & all, from + 2), e = _mm512_maskz_loadu_ps(masks[3] & all, from + 2 + LANES);
    const __m512 x0 = _mm512_permutex2var_ps(a, even, b), x1 = _mm512_permutex2var_ps(a, odd, b);
    const __m512 x2 = _mm512_permutex2var_ps(d, even, e), x3 = _mm512_permutex2var_ps(d, odd, e);
    t[i][0] = _mm512_sub_ps(x0, x2);
    t[i][1] = _mm512_add_ps(x1, x2);
    t[i][2] = _mm512_sub_ps(x2, x1);
    t[i][3] = _mm512_sub_ps(x1, x3);
  }
  for (int j = 0; j < 4; j++) {
    _mm512_storeu_ps(v + j * stride, _mm512_sub_ps(t[0][j], t[2][j]));
    _mm512_storeu_ps(v + (4 + j) * stride, _mm512_add_ps(t[1][j], t[2][j]));
    _mm512_storeu_ps(v + (8 + j) * stride, _mm512_sub_ps(t[2][j], t[1][j]));
    _mm512_storeu_ps(v + (12 + j) * stride, _mm512_sub_ps(t[1][j], t[3][j]));
  }
}

// Of a block: its first tile, the one after its last, and the numbers from one point to the next, and from one channel.
typedef struct {
  int64_t first, stop, stride, room;
  float* points;
} Block;

// With its points in one of the places of memory.
static Block block_of(const Convolution* c, int64_t number, int64_t place) {
  const int64_t first = number * c->together, rest = c->tiles - first, room = c->together + LANES;
  const int64_t stride = c->channels * room + LANES;  // no power of two, at which points would share places in the cache
  return (Block){first, first + (rest < c->together ? rest : c->together), stride, room, c->points + place * POINTS * stride};
}

// Some channels. Each run's last store reaches into the next run, which is stored after it.
AVX512_CODE static void transform(const Convolution* c, const Block* b, int64_t begin, int64_t end) {
  for (int64_t channel = begin; channel < end; channel++) {
    Run run;
    for (int64_t tile = b->first; tile < b->stop; tile += run.count) {
      run = run_of(c, tile, b->stop);
      const float* plane = c->x + (run.image * c->channels + channel) * c->height * c->width;
      for (int64_t j = 0; j < run.count; j += LANES)
        to_points(c, plane, run.row, run.column + j, b->points + channel * b->room + tile - b->first + j, b->stride);
    }
  }
}

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

// ---- products

// m: [ROWS, room], of 8 filters at one point.
AVX512_CODE INLINE void product(const float* panel, const float* v, int64_t channels, int64_t room, float* m, int vectors) {
  __m512 sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < vectors; i++) sums[r][i] = _mm512_setzero_ps();
  for (int64_t channel = 0; channel < channels; channel++, panel += ROWS, v += room) {
    __m512 b[VECTORS];
    for (int i = 0; i < vectors; i++) b[i] = _mm512_loadu_ps(v + i * LANES);
    for (int r = 0; r < ROWS; r++)
      for (int i = 0; i < vectors; i++) sums[r][i] = _mm512_fmadd_ps(_mm512_set1_ps(panel[r]), b[i], sums[r][i]);
  }
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < vectors; i++) _mm512_storeu_ps(m + r * room + i * LANES, sums[r][i]);
}

// m: [POINTS, ROWS, room].
AVX512_CODE static void products(const float* panel, const Block* b, int64_t channels, float* m) {
  const int64_t vectors = parts(b->stop - b->first, LANES), room = b->room;
  const float* v = b->points;
  for (int p = 0; p < POINTS; p++, panel += channels * ROWS, v += b->stride, m += ROWS * room) {
    if (vectors == 1)
      product(panel, v, channels, room, m, 1);
    else if (vectors == 2)
      product(panel, v, channels, room, m, 2);
    else
      product(panel, v, channels, room, m, 3);
  }
}

// ---- from points

// The outputs of a tile by the definition.
static void define(const Convolution* c, int64_t image, int64_t filter, int64_t row, int64_t column) {
  for (int64_t i = 2 * row; i < 2 * row + 2 && i < c->rows; i++)
    for (int64_t j = 2 * column; j < 2 * column + 2 && j < c->columns; j++) {
      const int64_t place = ((image * c->filters + filter) * c->rows + i) * c->columns + j;
      float sum = 0;
      for (int64_t channel = 0; channel < c->channels; channel++)
        for (int64_t a = 0; a < 3; a++)
          for (int64_t b = 0; b < 3; b++) {
            const int64_t h = i + a - c->top, w = j + b - c->left;
            if (h >= 0 && h < c->height && w >= 0 && w < c->width)
              sum += c->x[((image * c->channels + channel) * c->height + h) * c->width + w] *
                     c->weight[((filter * c->channels + channel) * 3 + a) * 3 + b];
          }
      sum += c->bias[filter];
      if (c->sum != NULL) sum += c->sum[place];
      c->y[place] = c->relu && sum < 0 ? 0 : sum;
    }
}

AVX512_CODE INLINE void store(const Convolution* c, int64_t place, __mmask16 mask, __m512 y) {
  if (c->sum != NULL) y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, c->sum + place));
  if (c->relu) y = _mm512_max_ps(_mm512_setzero_ps(), y);  // in this order NaN stays
  _mm512_mask_storeu_ps(c->y + place, mask, y);
}

// 16 tiles of one filter, of which `count` are there. m: those of its first point.
AVX512_CODE static void from_points(const Convolution* c, Run run, int64_t filter, const float* m, int64_t stride) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  const __m512 bias = _mm512_set1_ps(c->bias[filter]);
  __m512 t[4][2];
  for (int i = 0; i < 4; i++) {
    const float* from = m + 4 * i * stride;
    const __m512 m0 = _mm512_loadu_ps(from), m1 = _mm512_loadu_ps(from + stride);
    const __m512 m2 = _mm512_loadu_ps(from + 2 * stride), m3 = _mm512_loadu_ps(from + 3 * stride);
    t[i][0] = _mm512_add_ps(_mm512_add_ps(m0, m1), m2);
    t[i][1] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
  }
  const int64_t width = c->columns - 2 * run.column < 2 * run.count ? c->columns - 2 * run.column : 2 * run.count;
  const __mmask16 first = inside(0, width), second = inside(LANES, width);
  __mmask16 wrong = 0;
  for (int i = 0; i < 2 && 2 * run.row + i < c->rows; i++) {
    __m512 y[2];
    for (int j = 0; j < 2; j++) {
      const __m512 sum =
          i == 0 ? _mm512_add_ps(_mm512_add_ps(t[0][j], t[1][j]), t[2][j]) : _mm512_sub_ps(_mm512_sub_ps(t[1][j], t[2][j]), t[3][j]);
      wrong |= _mm512_fpclass_ps_mask(sum, NOT_FINITE);
      y[j] = _mm512_add_ps(sum, bias);
    }
    const int64_t place = ((run.image * c->filters + filter) * c->rows + 2 * run.row + i) * c->columns + 2 * run.column;
    store(c, place, first, _mm512_permutex2var_ps(y[0], low, y[1]));
    if (second) store(c, place + LANES, second, _mm512_permutex2var_ps(y[0], high, y[1]));
  }
  wrong &= inside(0, run.count);
  for (int64_t tile = 0; wrong >> tile; tile++)
    if (wrong >> tile & 1) define(c, run.image, filter, run.row, run.column + tile);
}

// Some panels of filters.
static void filter(const Convolution* c, const Block* b, int64_t begin, int64_t end) {
  float m[POINTS * ROWS * (VECTORS + 1) * LANES];
  for (int64_t panel = begin; panel < end; panel++) {
    products(c->panels + panel * POINTS * c->channels * ROWS, b, c->channels, m);
    for (int64_t r = 0; r < ROWS && panel * ROWS + r < c->filters; r++) {
      Run run;
      for (int64_t tile = b->first; tile < b->stop; tile += run.count) {
        run = run_of(c, tile, b->stop);
        for (int64_t j = 0; j < run.count; j += LANES) {
          const Run some = {run.image, run.row, run.column + j, run.count - j < LANES ? run.count - j : LANES};
          from_points(c, some, panel * ROWS + r, m + r * b->room + tile - b->first + j, ROWS * b->room);
        }
      }
    }
  }
}

// Many blocks: each thread takes what is next, and its points stay near.
static void whole(void* argument, size_t place) {
  Convolution* c = argument;
  for (int64_t i = atomic_fetch_add(&c->taken, 1); i < c->blocks; i = atomic_fetch_add(&c->taken, 1)) {
    const Block b = block_of(c, i, (int64_t)place);
    transform(c, &b, 0, c->channels);
    filter(c, &b, 0, parts(c->filters, ROWS));
  }
}

// Few blocks: their channels are parted, and then their filters.
static void part_of_channels(void* argument, size_t task) {
  const Convolution* c = argument;
  const int64_t number = (int64_t)task / c->groups, each = parts(c->channels, c->groups), begin = (int64_t)task % c->groups * each;
  const Block b = block_of(c, number, number);
  transform(c, &b, begin, begin + each < c->channels ? begin + each : c->channels);
}

static void part_of_filters(void* argument, size_t task) {
  const Convolution* c = argument;
  const int64_t panels = parts(c->filters, ROWS), each = parts(panels, c->groups), begin = (int64_t)task % c->groups * each;
  const Block b = block_of(c, (int64_t)task / c->groups, (int64_t)task / c->groups);
  filter(c, &b, begin, begin + each < panels ? begin + each : panels);
}

// ---- the operator

typedef struct {
  int64_t filters, channels, top, left, bottom, right, relu;
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
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "relu", &k->relu);
  if (failed == NULL) failed = read_constant(info, 1, &weight, dims, 4);
  if (failed == NULL) failed = read_constant(info, 2, &bias, &size, 1);
  if (failed != NULL) return failed;
  if (weight == NULL || bias == NULL || dims[0] < 1 || dims[1] < 1 || dims[2] != 3 || dims[3] != 3 || size != dims[0])
    return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: the filters must be constants of 3 by 3, with a constant bias");
  k->filters = dims[0];
  k->channels = dims[1];
  const int64_t panels = parts(k->filters, ROWS), each = POINTS * k->channels * ROWS;
  k->panels = aligned_alloc(64, (size_t)(panels * each) * sizeof(float));
  k->bias = malloc((size_t)k->filters * sizeof(float));
  if (k->panels == NULL || k->bias == NULL) return CreateStatus(ORT_FAIL, "Conv: no memory");
  memset(k->panels, 0, (size_t)(panels * each) * sizeof(float));
  memcpy(k->bias, bias, (size_t)k->filters * sizeof(float));
  for (int64_t f = 0; f < k->filters; f++)
    for (int64_t channel = 0; channel < k->channels; channel++)
      filter_to_points(weight + (f * k->channels + channel) * 9, k->panels + f / ROWS * each + channel * ROWS + f % ROWS,
                       k->channels * ROWS);
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
  const int64_t fit = NEAR / (POINTS * c->channels * LANES * (int64_t)sizeof(float));
  c->down = parts(c->rows, 2);
  c->across = parts(c->columns, 2);
  c->tiles = c->images * c->down * c->across;
  c->together = LANES * (fit < 1 ? 1 : fit > VECTORS ? VECTORS : fit);
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
    failed = KernelContext_ParallelFor(context, part_of_channels, tasks, 0, c);
    if (failed == NULL) failed = KernelContext_ParallelFor(context, part_of_filters, tasks, 0, c);
  }
  give(&spare, memory);
  return failed;
}

enum { X, WEIGHT, BIAS, SUM, INPUTS };

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
  Convolution c = {.x = read[X], .weight = read[WEIGHT], .sum = read[SUM], .panels = k->panels, .bias = k->bias};
  c.images = dims[X][0], c.channels = k->channels, c.height = dims[X][2], c.width = dims[X][3];
  c.filters = k->filters, c.top = k->top, c.left = k->left, c.relu = k->relu != 0;
  c.rows = c.height + k->top + k->bottom - 2, c.columns = c.width + k->left + k->right - 2;
  if (c.rows < 0 || c.columns < 0) return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: x is smaller than the filters");
  const int64_t y_dims[4] = {c.images, c.filters, c.rows, c.columns};
  if (read[SUM] != NULL && (ranks[SUM] != 4 || memcmp(dims[SUM], y_dims, sizeof y_dims) != 0))
    return CreateStatus(ORT_INVALID_ARGUMENT, "Conv: what is added must be as large as y");
  void* y = NULL;
  OrtStatus* failed = make_output(context, 0, y_dims, 4, &y);
  c.y = y;
  return failed != NULL || c.images * c.filters * c.rows * c.columns == 0 ? failed : run(context, &c);
}

static const char* name(const OrtCustomOp* op) { return "Conv"; }
static size_t inputs(const OrtCustomOp* op) { return INPUTS; }
static size_t outputs(const OrtCustomOp* op) { return 1; }
static int type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return i == SUM ? ORT_OPTIONAL : ORT_REQUIRED; }
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
