// Transforms and products for vectors of LANES and panels of ROWS filters: a form FORM for INSTRUCTIONS. conv.c includes it for each kind
// of processor, with EVEN, ODD, LOW and HIGH, which say what two vectors' even and odd lanes are, and how lanes of two are interleaved.
#define JOIN(a, b) a##b
#define NAMED(a, b) JOIN(a, b)
#define OWN(name) NAMED(FORM, name)
#define Vector OWN(_vector)
#define Lanes OWN(_lanes)
#define Mask OWN(_mask)

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float OWN(_unaligned) __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int32_t Lanes __attribute__((vector_size(LANES * sizeof(int32_t))));

INSTRUCTIONS INLINE Vector OWN(_read)(const float* from) { return *(const OWN(_unaligned)*)from; }
INSTRUCTIONS INLINE void OWN(_write)(float* to, Vector x) { *(OWN(_unaligned)*)to = x; }

// Which of the numbers from `first` on are in a row of `size`.
INSTRUCTIONS INLINE Mask OWN(_inside)(int64_t first, int64_t size) {
  const int64_t left = size - first;
  const int32_t from = first >= 0 ? 0 : first < -LANES ? LANES : (int32_t)-first, to = left <= 0 ? 0 : left > LANES ? LANES : (int32_t)left;
  return OWN(_between)(from, to);
}

// LANES tiles of one channel. v: those of its first point.
INSTRUCTIONS static void OWN(_to_points)(const Convolution* c, const float* plane, int64_t row, int64_t column, float* v, int64_t stride) {
  const int64_t first = 2 * column - c->left;
  const Mask a = OWN(_inside)(first, c->width), b = OWN(_inside)(first + LANES, c->width);
  const Mask d = OWN(_inside)(first + 2, c->width), e = OWN(_inside)(first + 2 + LANES, c->width);
  Vector t[4][4];
  for (int i = 0; i < 4; i++) {
    const int64_t r = 2 * row + i - c->top;
    if (r < 0 || r >= c->height) {
      memset(t[i], 0, sizeof t[i]);
      continue;
    }
    const float* from = plane + r * c->width + first;
    const Vector near = OWN(_some)(a, from), far = OWN(_some)(b, from + LANES);
    const Vector next = OWN(_some)(d, from + 2), last = OWN(_some)(e, from + 2 + LANES);
    const Vector x0 = __builtin_shuffle(near, far, (Lanes)EVEN), x1 = __builtin_shuffle(near, far, (Lanes)ODD);
    const Vector x2 = __builtin_shuffle(next, last, (Lanes)EVEN), x3 = __builtin_shuffle(next, last, (Lanes)ODD);
    t[i][0] = x0 - x2, t[i][1] = x1 + x2, t[i][2] = x2 - x1, t[i][3] = x1 - x3;
  }
  for (int j = 0; j < 4; j++) {
    OWN(_write)(v + j * stride, t[0][j] - t[2][j]);
    OWN(_write)(v + (4 + j) * stride, t[1][j] + t[2][j]);
    OWN(_write)(v + (8 + j) * stride, t[2][j] - t[1][j]);
    OWN(_write)(v + (12 + j) * stride, t[1][j] - t[3][j]);
  }
}

// Some channels. Each run's last vector reaches into the next run, which is written after it.
static void OWN(_transform)(const Convolution* c, const Block* b, int64_t begin, int64_t end) {
  for (int64_t channel = begin; channel < end; channel++) {
    Run run;
    for (int64_t tile = b->first; tile < b->stop; tile += run.count) {
      run = run_of(c, tile, b->stop);
      const float* plane = c->x + (run.image * c->channels + channel) * c->height * c->width;
      for (int64_t j = 0; j < run.count; j += LANES)
        OWN(_to_points)(c, plane, run.row, run.column + j, b->points + channel * b->room + tile - b->first + j, b->stride);
    }
  }
}

// A panel of filters at one point. m: [ROWS, room].
INSTRUCTIONS INLINE void OWN(_product)(const float* panel, const float* v, int64_t channels, int64_t room, float* m, int vectors) {
  Vector sums[ROWS][VECTORS];
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < vectors; i++) sums[r][i] = (Vector){0};
  for (int64_t channel = 0; channel < channels; channel++, panel += ROWS, v += room) {
    Vector x[VECTORS];
    for (int i = 0; i < vectors; i++) x[i] = OWN(_read)(v + i * LANES);
    for (int r = 0; r < ROWS; r++)
      for (int i = 0; i < vectors; i++) sums[r][i] += panel[r] * x[i];
  }
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < vectors; i++) OWN(_write)(m + r * room + i * LANES, sums[r][i]);
}

// m: [POINTS, ROWS, room].
INSTRUCTIONS static void OWN(_products)(const float* panel, const Block* b, int64_t channels, float* m) {
  const int64_t vectors = parts(b->stop - b->first, LANES), room = b->room;
  const float* v = b->points;
  for (int p = 0; p < POINTS; p++, panel += channels * ROWS, v += b->stride, m += ROWS * room) {
    if (vectors == 1)
      OWN(_product)(panel, v, channels, room, m, 1);
    else if (vectors == 2)
      OWN(_product)(panel, v, channels, room, m, 2);
    else
      OWN(_product)(panel, v, channels, room, m, 3);
  }
}

// LANES tiles of one filter, of which some are there. m: those of its first point.
INSTRUCTIONS static void OWN(_from_points)(const Convolution* c, Run run, int64_t filter, const float* m, int64_t stride) {
  Vector t[4][2];
  for (int i = 0; i < 4; i++) {
    const float* from = m + 4 * i * stride;
    const Vector m1 = OWN(_read)(from + stride), m2 = OWN(_read)(from + 2 * stride);
    t[i][0] = OWN(_read)(from) + m1 + m2;
    t[i][1] = m1 - m2 - OWN(_read)(from + 3 * stride);
  }
  const int64_t width = c->columns - 2 * run.column < 2 * run.count ? c->columns - 2 * run.column : 2 * run.count;
  const Mask near = OWN(_inside)(0, width), far = OWN(_inside)(LANES, width);
  unsigned wrong = 0;
  for (int i = 0; i < 2 && 2 * run.row + i < c->rows; i++) {
    Vector y[2];
    for (int j = 0; j < 2; j++) {
      const Vector sum = i == 0 ? t[0][j] + t[1][j] + t[2][j] : t[1][j] - t[2][j] - t[3][j];
      wrong |= OWN(_not_finite)(sum);
      y[j] = sum + c->bias[filter];
    }
    float* to = c->y + ((run.image * c->filters + filter) * c->rows + 2 * run.row + i) * c->columns + 2 * run.column;
    OWN(_put)(near, to, __builtin_shuffle(y[0], y[1], (Lanes)LOW));
    if (width > LANES) OWN(_put)(far, to + LANES, __builtin_shuffle(y[0], y[1], (Lanes)HIGH));
  }
  for (int64_t tile = 0; tile < run.count && wrong >> tile; tile++)
    if (wrong >> tile & 1) define(c, run.image, filter, run.row, run.column + tile);
}

// Some panels of filters.
static void OWN(_filter)(const Convolution* c, const Block* b, int64_t begin, int64_t end) {
  float m[POINTS * ROWS * (VECTORS + 1) * LANES];
  for (int64_t panel = begin; panel < end; panel++) {
    OWN(_products)(c->panels + panel * POINTS * c->channels * ROWS, b, c->channels, m);
    for (int64_t r = 0; r < ROWS && panel * ROWS + r < c->filters; r++) {
      Run run;
      for (int64_t tile = b->first; tile < b->stop; tile += run.count) {
        run = run_of(c, tile, b->stop);
        for (int64_t j = 0; j < run.count; j += LANES) {
          const Run some = {run.image, run.row, run.column + j, run.count - j < LANES ? run.count - j : LANES};
          OWN(_from_points)(c, some, panel * ROWS + r, m + r * b->room + tile - b->first + j, ROWS * b->room);
        }
      }
    }
  }
}

static const Form FORM = {LANES, ROWS, OWN(_transform), OWN(_filter)};

#undef JOIN
#undef NAMED
#undef OWN
#undef Vector
#undef Lanes
#undef Mask
#undef LANES
#undef ROWS
#undef INSTRUCTIONS
#undef FORM
#undef EVEN
#undef ODD
#undef LOW
#undef HIGH
