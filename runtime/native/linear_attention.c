// S[t] = exp(decay[t]) * S[t-1] + k[t].T @ w[t]; y[t] = scale * q[t] @ S[t], for every head, and the last S. Without beta, w is v; with it
// w[t] = beta[t] * (v[t] - k[t] @ (exp(decay[t]) * S[t-1])).
//
// Columns of S do not know of each other, so a task has 32 or 64 of one head's, which stay in the first cache from the first step to the
// last. It is the definition, step by step, so that no gate is too steep for it.
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { VECTORS = 4, ALIGNMENT = 64, SPAN = 16, AHEAD = 4 };

#define AVX2_CODE __attribute__((target("avx2,fma")))
#define AVX512_CODE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma")))
#define INLINE static inline __attribute__((always_inline))

// Rows of a sequence, for each sample and head: [N, heads, T, width], or [N, T, heads, width] where the heads are `joined`.
typedef struct {
  float* data;
  int64_t sample, head, step;  // from one to the next
} Rows;

// q, k: of dk; v, y: of dv; decay: of as many as there are gates, 1 or dk, or null; beta: of 1, or null; state (or null), last:
// [N * heads, dk, dv].
typedef struct {
  Rows q, k, v, decay, beta, y;
  const float* state;
  float *last, *memory;
  int64_t samples, heads, steps, dk, dv, gates;
  float scale;
} Work;

// All steps of one head, for `width` columns from `first`. In `memory` are S's rows of so many columns, and then room for gates.
typedef void Columns(const Work*, float* memory, int64_t first, int64_t width);

typedef struct {
  Columns* columns;
  int64_t most;  // columns
} Form;

// Cody and Waite's reduction, and Cephes' polynomial. What float32 cannot hold is 0, or infinite; NaN stays.
AVX2_CODE INLINE __m256 exp_of(__m256 x) {
  const __m256 least = _mm256_set1_ps(-87.3f), most = _mm256_set1_ps(88.7f);
  const __m256 bounded = _mm256_min_ps(most, _mm256_max_ps(least, x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(bounded, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), bounded));
  __m256 y = _mm256_set1_ps(1.9875691500e-4f);
  y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.3981999507e-3f));
  y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(8.3334519073e-3f));
  y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(4.1665795894e-2f));
  y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1.6666665459e-1f));
  y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(5.0000001201e-1f));
  y = _mm256_fmadd_ps(_mm256_mul_ps(y, r), r, _mm256_add_ps(r, _mm256_set1_ps(1)));
  // 2^n in two factors, as 2^128 is beyond the exponents
  const __m256i half = _mm256_srai_epi32(_mm256_cvtps_epi32(n), 1), rest = _mm256_sub_epi32(_mm256_cvtps_epi32(n), half);
  const __m256i bias = _mm256_set1_epi32(127);
  y = _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
  y = _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
  y = _mm256_andnot_ps(_mm256_cmp_ps(x, least, _CMP_LT_OQ), y);
  y = _mm256_blendv_ps(y, _mm256_set1_ps(INFINITY), _mm256_cmp_ps(x, most, _CMP_GT_OQ));
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

INLINE float* row(const Rows* rows, int64_t t) { return rows->data + t * rows->step; }

// The rows of one head, of all samples.
static Rows of_head(Rows rows, int64_t head, int64_t heads) {
  if (rows.data != NULL) rows.data += head / heads * rows.sample + head % heads * rows.head;
  return rows;
}

// exp(decay) of some steps; ones where there is no decay.
AVX2_CODE static void read_gates(const Work* p, float* gates, int64_t t, int64_t steps) {
  for (int64_t j = 0; j < steps; j++) {
    if (p->decay.data == NULL)
      gates[j] = 0;
    else
      memcpy(gates + j * p->gates, row(&p->decay, t + j), (size_t)p->gates * sizeof(float));
  }
  for (int64_t i = 0; i < steps * p->gates; i += 8) _mm256_storeu_ps(gates + i, exp_of(_mm256_loadu_ps(gates + i)));
}

#define LANES 8
#define TOGETHER 1  // the registers hold one step's w and y
#define INSTRUCTIONS AVX2_CODE
#define COLUMNS columns_avx2
#include "linear_attention.h"

#define LANES 16
#define TOGETHER 2
#define INSTRUCTIONS AVX512_CODE
#define COLUMNS columns_avx512
#include "linear_attention.h"

typedef struct {
  Work work;
  Form form;
  int64_t blocks;  // of columns
} Job;

// Of a task, in numbers: its part of S, and the gates of a span.
static int64_t memory_of(const Job* job) { return job->work.dk * job->form.most + SPAN * job->work.gates; }

static void some_columns(void* argument, size_t task) {
  const Job* job = argument;
  const Work* p = &job->work;
  const int64_t most = job->form.most, head = (int64_t)task / job->blocks, first = (int64_t)task % job->blocks * most;
  const int64_t width = p->dv - first < most ? p->dv - first : most;
  float* s = p->memory + (int64_t)task * memory_of(job);
  memset(s, 0, (size_t)(p->dk * most) * sizeof *s);
  for (int64_t i = 0; i < p->dk && p->state != NULL; i++)
    memcpy(s + i * most, p->state + (head * p->dk + i) * p->dv + first, (size_t)width * sizeof *s);
  Work own = *p;
  own.q = of_head(p->q, head, p->heads), own.k = of_head(p->k, head, p->heads), own.v = of_head(p->v, head, p->heads);
  own.decay = of_head(p->decay, head, p->heads), own.beta = of_head(p->beta, head, p->heads), own.y = of_head(p->y, head, p->heads);
  job->form.columns(&own, s, first, width);
  for (int64_t i = 0; i < p->dk; i++) memcpy(p->last + (head * p->dk + i) * p->dv + first, s + i * most, (size_t)width * sizeof *s);
}

// ---- the operator

enum { Q, K, V, DECAY, BETA, STATE, INPUTS, Y = INPUTS };

// Bit i of `joined` says it of input i, bit 6 of y.
typedef struct {
  float scale;
  int64_t joined;
  Form form;
} Kernel;

static OrtStatus* create(const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  Kernel* k = malloc(sizeof *k);
  if (k == NULL) return CreateStatus(ORT_FAIL, "LinearAttention: no memory");
  k->form = instructions() >= AVX512_VNNI ? (Form){columns_avx512, 16 * VECTORS} : (Form){columns_avx2, 8 * VECTORS};
  OrtStatus* failed = KernelInfoGetAttribute_float(info, "scale", &k->scale);
  if (failed == NULL) failed = KernelInfoGetAttribute_int64(info, "joined", &k->joined);
  if (failed != NULL)
    free(k);
  else
    *made = k;
  return failed;
}

static OrtStatus* run(const OrtKernelContext* context, Job* job) {
  Work* p = &job->work;
  job->blocks = (p->dv + job->form.most - 1) / job->form.most;
  const int64_t tasks = p->samples * p->heads * job->blocks;
  if (tasks == 0) return NULL;
  p->memory = aligned_alloc(ALIGNMENT, (size_t)(tasks * memory_of(job)) * sizeof(float));
  if (p->memory == NULL) return CreateStatus(ORT_FAIL, "LinearAttention: no memory");
  OrtStatus* failed = KernelContext_ParallelFor(context, some_columns, (size_t)tasks, 0, job);
  free(p->memory);
  return failed;
}

static Rows rows_of(const Work* p, const void* data, int64_t width, int64_t joined) {
  return (Rows){(float*)data, p->heads * p->steps * width, joined ? width : p->steps * width, joined ? p->heads * width : width};
}

static OrtStatus* compute(void* kernel, OrtKernelContext* context) {
  const Kernel* kept = kernel;
  const void* read[INPUTS];
  int64_t sizes[INPUTS] = {0}, dims[INPUTS][MAX_RANK];
  size_t ranks[INPUTS];
  for (size_t i = 0; i < INPUTS; i++) {
    OrtStatus* failed = read_input(context, i, &read[i], dims[i], &ranks[i], &sizes[i]);
    if (failed != NULL) return failed;
  }
  if (ranks[Q] != 4 || ranks[V] != 4) return CreateStatus(ORT_INVALID_ARGUMENT, "LinearAttention: q and v must have rank 4");
  const int64_t joined = kept->joined, heads = dims[Q][joined & 1 << Q ? 2 : 1], steps = dims[Q][joined & 1 << Q ? 1 : 2];
  const int64_t samples = dims[Q][0], rows = samples * heads * steps, dk = dims[Q][3], dv = dims[V][3];
  const int64_t gates = read[DECAY] != NULL && sizes[DECAY] != rows ? dk : 1;
  if (sizes[K] != sizes[Q] || sizes[V] != rows * dv || (read[DECAY] != NULL && sizes[DECAY] != rows * gates) ||
      (read[BETA] != NULL && sizes[BETA] != rows) || (read[STATE] != NULL && sizes[STATE] != samples * heads * dk * dv))
    return CreateStatus(ORT_INVALID_ARGUMENT, "LinearAttention: the inputs' sizes do not fit together");
  Job job = {.work = {.state = read[STATE],
                      .samples = samples,
                      .heads = heads,
                      .steps = steps,
                      .dk = dk,
                      .dv = dv,
                      .gates = gates,
                      .scale = kept->scale},
             .form = kept->form};
  Work* p = &job.work;
  p->q = rows_of(p, read[Q], dk, joined & 1 << Q);
  p->k = rows_of(p, read[K], dk, joined & 1 << K);
  p->v = rows_of(p, read[V], dv, joined & 1 << V);
  p->decay = rows_of(p, read[DECAY], gates, joined & 1 << DECAY);
  p->beta = rows_of(p, read[BETA], 1, joined & 1 << BETA);
  const int together = (joined & 1 << Y) != 0;
  const int64_t y_dims[4] = {samples, together ? steps : heads, together ? heads : steps, dv}, last_dims[4] = {samples, heads, dk, dv};
  void *y = NULL, *last = NULL;
  OrtStatus* failed = make_output(context, 0, y_dims, 4, &y);
  if (failed == NULL) failed = make_output(context, 1, last_dims, 4, &last);
  p->y = rows_of(p, y, dv, together);
  p->last = last;
  return failed != NULL ? failed : run(context, &job);
}

static const char* name(const OrtCustomOp* op) { return "LinearAttention"; }
static size_t inputs(const OrtCustomOp* op) { return 6; }
static size_t outputs(const OrtCustomOp* op) { return 2; }
static int type(const OrtCustomOp* op, size_t i) { return ORT_FLOAT; }
static int input_kind(const OrtCustomOp* op, size_t i) { return i > 2 ? ORT_OPTIONAL : ORT_REQUIRED; }
static int output_kind(const OrtCustomOp* op, size_t i) { return ORT_REQUIRED; }

const OrtCustomOp LINEAR_ATTENTION = {
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
    .KernelDestroy = free,
    .GetStartVersion = first_version,
    .GetEndVersion = last_version,
};
