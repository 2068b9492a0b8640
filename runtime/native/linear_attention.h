// The steps of a head, for vectors of LANES and so many steps TOGETHER: a function COLUMNS for INSTRUCTIONS. linear_attention.c includes it
// for each kind of processor.
#define JOIN(a, b) a##b
#define NAMED(a, b) JOIN(a, b)
#define OWN(name) NAMED(COLUMNS, name)
#define Vector OWN(_vector)
#define WIDTH (LANES * VECTORS)

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));

// Some columns of a row, and zeros after them.
INLINE void OWN(_read)(Vector* row, const float* from, int64_t width) {
  if (width < WIDTH) memset(row, 0, sizeof(Vector) * VECTORS);
  memcpy(row, from, (size_t)width * sizeof *from);
}

// Rows of other heads may stand between those of this one, where no processor looks ahead by itself.
INLINE void OWN(_look)(const Work* p, const Rows* rows, int64_t t, int64_t first, int64_t width, int written) {
  const float* next = row(rows, t + AHEAD < p->steps ? t + AHEAD : t) + first;
  for (int64_t i = 0; i < width; i += LANES) {
    if (written)
      __builtin_prefetch(next + i, 1);
    else
      __builtin_prefetch(next + i, 0);
  }
}

// `together` steps from step `t`, which is 1 where there is beta, as a step's w is then made of the state before it.
INLINE void OWN(_advance)(const Work* p, Vector* s, const float* gates, int64_t t, int64_t first, int64_t width, int together,
                          int per_channel) {
  const int64_t dk = p->dk, step = p->gates, next_q = p->q.step, next_k = p->k.step;
  const float *q = row(&p->q, t), *k = row(&p->k, t);
  Vector w[TOGETHER][VECTORS], y[TOGETHER][VECTORS];
  for (int j = 0; j < together; j++) {
    OWN(_read)(w[j], row(&p->v, t + j) + first, width);
    OWN(_look)(p, &p->q, t + j, 0, dk, 0);
    OWN(_look)(p, &p->k, t + j, 0, dk, 0);
    OWN(_look)(p, &p->v, t + j, first, width, 0);
    OWN(_look)(p, &p->y, t + j, first, width, 1);
    memset(y[j], 0, sizeof y[j]);
  }
  if (p->beta.data != NULL) {
    Vector known[VECTORS] = {0};
    for (int64_t i = 0; i < dk; i++)
      for (int c = 0; c < VECTORS; c++) known[c] += s[i * VECTORS + c] * (k[i] * gates[per_channel ? i : 0]);
    for (int c = 0; c < VECTORS; c++) w[0][c] = (w[0][c] - known[c]) * *row(&p->beta, t);
  }
  for (int64_t i = 0; i < dk; i++) {
    Vector held[VECTORS];
    for (int c = 0; c < VECTORS; c++) held[c] = s[i * VECTORS + c];
    for (int j = 0; j < together; j++) {
      const float factor = gates[j * step + (per_channel ? i : 0)], key = k[j * next_k + i], query = q[j * next_q + i];
      for (int c = 0; c < VECTORS; c++) {
        held[c] = held[c] * factor + w[j][c] * key;
        y[j][c] += held[c] * query;
      }
    }
    for (int c = 0; c < VECTORS; c++) s[i * VECTORS + c] = held[c];
  }
  for (int j = 0; j < together; j++) {
    for (int c = 0; c < VECTORS; c++) y[j][c] *= p->scale;
    memcpy(row(&p->y, t + j) + first, y[j], (size_t)width * sizeof(float));
  }
}

INLINE void OWN(_all)(const Work* p, float* memory, int64_t first, int64_t width, int per_channel) {
  Vector* s = (Vector*)memory;
  float* gates = memory + p->dk * WIDTH;
  for (int64_t start = 0; start < p->steps; start += SPAN) {
    const int64_t stop = p->steps - start < SPAN ? p->steps : start + SPAN;
    const float* gate = gates - start * p->gates;
    int64_t t = start;
    read_gates(p, gates, start, stop - start);
    if (p->beta.data == NULL)
      for (; t + TOGETHER <= stop; t += TOGETHER) OWN(_advance)(p, s, gate + t * p->gates, t, first, width, TOGETHER, per_channel);
    for (; t < stop; t++) OWN(_advance)(p, s, gate + t * p->gates, t, first, width, 1, per_channel);
  }
}

INSTRUCTIONS static void COLUMNS(const Work* p, float* memory, int64_t first, int64_t width) {
  if (p->gates > 1)
    OWN(_all)(p, memory, first, width, 1);
  else
    OWN(_all)(p, memory, first, width, 0);
}

#undef JOIN
#undef NAMED
#undef OWN
#undef Vector
#undef WIDTH
#undef LANES
#undef TOGETHER
#undef INSTRUCTIONS
#undef COLUMNS
