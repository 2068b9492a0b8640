// y[r] = x[r] @ weights[g], for the rows of group g: `loads` says how many each group has, one after the other. Rows after them are zeros.
//
// A weight [K, N] lies in panels of 32 columns, [N / 32, K, 32] with zeros to fill the last one: it is read from end to end, once for each
// task. With few rows to a group that takes as long as their products do, so what comes next is fetched while a panel is at work.
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { PANEL = 32, LINE = 64, DEPTH = 512, MOST_ROWS = 240, MOST_PANELS = 8 };

#define AVX2_CODE __attribute__((target("avx2,fma")))
#define AVX512_CODE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define INLINE static inline __attribute__((always_inline))
#define JOIN(a, b) a##b
#define NAMED(a, b) JOIN(a, b)

// Rows of x and of y, so many numbers apart, and so much of x's columns; whether y is new; what is read next, and how many bytes of it to
// fetch at each step.
typedef struct {
  const float *x, *next;
  int64_t x_step, y_step, depth, ahead;
  int first;
} Tile;

typedef void Rows(const Tile*, int64_t count, const float* w, float* y);

#define LANES 8
#define TOGETHER 6
#define INSTRUCTIONS AVX2_CODE
#define ROWS rows_avx2
#include "grouped_matmul.h"

#define LANES 16
#define TOGETHER 12
#define INSTRUCTIONS AVX512_CODE
#define ROWS rows_avx512
#include "grouped_matmul.h"

// Some rows of one group, by some panels of its weight.
typedef struct {
  const float* weight;
  int64_t row, rows, panel;
} Task;

typedef struct {
  const float* x;
  float* y;
  int64_t depth, width, count;
  Rows* form;
  const Task* tasks;
} Product;

static int64_t parts(int64_t whole, int64_t most) { return (whole + most - 1) / most; }

static const float* first_panel(const Product* p, const Task* task) { return task->weight + task->panel * PANEL * p->depth; }

static void some_panels(void* argument, size_t number) {
  const Product* p = argument;
  const Task *task = p->tasks + number, *next = (int64_t)number + 1 < p->count ? task + 1 : task;
  const int64_t stop = task->panel + MOST_PANELS < parts(p->width, PANEL) ? task->panel + MOST_PANELS : parts(p->width, PANEL);
  float last[MOST_ROWS * PANEL];  // of a panel that is wider than what is left of y
  for (int64_t panel = task->panel; panel < stop; panel++) {
    const int64_t first = panel * PANEL, width = p->width - first < PANEL ? p->width - first : PANEL;
    const float *x = p->x + task->row * p->depth, *w = task->weight + first * p->depth;
    float* y = p->y + task->row * p->width + first;
    for (int64_t k = 0; k < p->depth; k += DEPTH) {
      const int64_t depth = p->depth - k < DEPTH ? p->depth - k : DEPTH;
      const int last_one = panel + 1 == stop && k + depth == p->depth;  // a thread's next task is most often the one after this
      const Tile tile = {.x = x + k,
                         .next = last_one ? first_panel(p, next) : w + (k + depth) * PANEL,
                         .x_step = p->depth,
                         .y_step = width < PANEL ? PANEL : p->width,
                         .depth = depth,
                         .first = k == 0};
      p->form(&tile, task->rows, w + k * PANEL, width < PANEL ? last : y);
    }
    for (int64_t r = 0; r < task->rows && width < PANEL; r++) memcpy(y + r * p->width, last + r * PANEL, (size_t)width * sizeof *y);
  }
}

// ---- the operator

typedef struct {
  int64_t width;
  Rows* form;
} Kernel;

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  int64_t width = 0;
  OrtStatus* failed = KernelInfoGetAttribute_int64(info, "N", &width);
  if (failed != NULL) return failed;
  if (width < 1 || width > INT32_MAX) return CreateStatus(ORT_INVALID_ARGUMENT, "GroupedMatMul: N must be 1 to 2^31 - 1");
  Kernel* k = malloc(sizeof *k);
  if (k == NULL) return CreateStatus(ORT_FAIL, "GroupedMatMul: no memory");
  *k = (Kernel){width, instructions() >= AVX512_VNNI ? rows_avx512 : rows_avx2};
  *made = k;
  return NULL;
}

// The tasks of a group, of which there are so many; they are written where `to` is not null.
static int64_t split(Task* to, const float* weight, int64_t row, int64_t rows, int64_t panels) {
  const int64_t pieces = parts(rows, MOST_ROWS);
  for (int64_t i = 0; i < pieces && to != NULL; i++) {
    const int64_t start = rows * i / pieces, stop = rows * (i + 1) / pieces;
    for (int64_t panel = 0; panel < panels; panel += MOST_PANELS) *to++ = (Task){weight, row + start, stop - start, panel};
  }
  return pieces * parts(panels, MOST_PANELS);
}

static OrtStatus* multiply(const OrtKernelContext* context, Product* p, const int64_t* loads, const float* const* weights, size_t groups) {
  const int64_t panels = parts(p->width, PANEL);
  int64_t count = 0;
  for (size_t g = 0; g < groups; g++) count += split(NULL, NULL, 0, loads[g], panels);
  if (count == 0) return NULL;
  Task* tasks = malloc((size_t)count * sizeof *tasks);
  if (tasks == NULL) return CreateStatus(ORT_FAIL, "GroupedMatMul: no memory");
  int64_t row = 0, made = 0;
  for (size_t g = 0; g < groups; g++) {
    made += split(tasks + made, weights[g], row, loads[g], panels);
    row += loads[g];
  }
  p->tasks = tasks;
  p->count = count;
  OrtStatus* failed = KernelContext_ParallelFor(context, some_panels, (size_t)count, (size_t)count, p);
  free(tasks);
  return failed;
}

static OrtStatus* read_weights(const OrtKernelContext* context, const float** weights, size_t groups, int64_t needed) {
  for (size_t g = 0; g < groups; g++) {
    const void* data = NULL;
    int64_t size = 0;
    size_t rank = 0;
    OrtStatus* failed = read_input(context, g + 2, &data, NULL, &rank, &size);
    if (failed == NULL && size != needed)
      failed = CreateStatus(ORT_INVALID_ARGUMENT, "GroupedMatMul: a weight's size is not that of x and N");
    if (failed != NULL) return failed;
    weights[g] = data;
  }
  return NULL;
}

static OrtStatus* grouped(Product* p, OrtKernelContext* context, const float** weights, size_t groups) {
  const void *x = NULL, *loads = NULL;
  int64_t dims[MAX_RANK], size = 0, rows = 0;
  size_t rank = 0, flat = 0;
  OrtStatus* failed = read_input(context, 0, &x, dims, &rank, &size);
  if (failed == NULL) failed = read_input(context, 1, &loads, NULL, &flat, &size);
  if (failed != NULL) return failed;
  if (rank != 2 || size != (int64_t)groups)
    return CreateStatus(ORT_INVALID_ARGUMENT, "GroupedMatMul: x must have rank 2, and each weight a load");
  for (size_t g = 0; g < groups; g++) {
    const int64_t load = ((const int64_t*)loads)[g];
    if (load < 0 || load > dims[0] - rows) return CreateStatus(ORT_INVALID_ARGUMENT, "GroupedMatMul: the loads must be of x's rows");
    rows += load;
  }
  p->x = x;
  p->depth = dims[1];
  failed = read_weights(context, weights, groups, parts(p->width, PANEL) * PANEL * p->depth);
  if (failed != NULL) return failed;
  void* y = NULL;
  const int64_t left = dims[0] - rows;
  dims[1] = p->width;
  failed = make_output(context, 0, dims, 2, &y);
  if (failed != NULL) return failed;
  p->y = y;
  if (left > 0) memset(p->y + rows * p->width, 0, (size_t)(left * p->width) * sizeof(float));
  return multiply(context, p, loads, weights, groups);
}

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel* kept = kernel;
  size_t count = 0;
  OrtStatus* failed = KernelContext_GetInputCount(context, &count);
  if (failed != NULL) return failed;
  const float** weights = malloc((count - 2) * sizeof *weights);
  if (weights == NULL) return CreateStatus(ORT_FAIL, "GroupedMatMul: no memory");
  Product product = {.width = kept->width, .form = kept->form};
  failed = grouped(&product, context, weights, count - 2);
  free(weights);
  return failed;
}

static const char* name(const OrtCustomOp* op) { return "GroupedMatMul"; }
static size_t inputs(const OrtCustomOp* op) { return 3; }
static size_t outputs(const OrtCustomOp* op) { return 1; }
static int input_type(const OrtCustomOp* op, size_t i) { return i == 1 ? ORT_INT64 : ORT_FLOAT; }
static int output_type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return i == 2 ? ORT_VARIADIC : ORT_REQUIRED; }
static int output_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }
static int least_weights(const OrtCustomOp* op) { return 1; }
static int alike(const OrtCustomOp* op) { return 1; }

const OrtCustomOp GROUPED_MATMUL = {
    .version = ORT_VERSION,
    .GetName = name,
    .GetExecutionProviderType = cpu,
    .GetInputTypeCount = inputs,
    .GetInputType = input_type,
    .GetInputCharacteristic = input_kind,
    .GetInputMemoryType = on_cpu,
    .GetVariadicInputMinArity = least_weights,
    .GetVariadicInputHomogeneity = alike,
    .GetOutputTypeCount = outputs,
    .GetOutputType = output_type,
    .GetOutputCharacteristic = output_kind,
    .CreateKernelV2 = create,
    .KernelComputeV2 = compute,
    .KernelDestroy = free,
    .GetStartVersion = first_version,
    .GetEndVersion = last_version,
};
