// Rows by a panel of columns, for vectors of LANES and so many rows TOGETHER: a function ROWS for INSTRUCTIONS. grouped_matmul.c
// includes it for each kind of processor.
#define OWN(name) NAMED(ROWS, name)
#define Vector OWN(_vector)
#define WIDTH (2 * LANES)

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));

// Adds to WIDTH columns of y. What is read next is looked for ahead, so much of it at each step.
INSTRUCTIONS INLINE void OWN(_tile)(const Tile* t, const float* w, float* y, const char* ahead, int rows) {
  Vector sums[TOGETHER][2];
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < 2; c++) sums[r][c] = t->first ? (Vector){0} : *(const Vector*)(y + r * t->y_step + c * LANES);
  for (int64_t k = 0; k < t->depth; k++) {
    const Vector left = *(const Vector*)(w + k * PANEL), right = *(const Vector*)(w + k * PANEL + LANES);
    __builtin_prefetch(ahead + k * t->ahead, 0, 1);
    if (t->ahead > LINE) __builtin_prefetch(ahead + k * t->ahead + LINE, 0, 1);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
      const float value = t->x[r * t->x_step + k];
      sums[r][0] += value * left;
      sums[r][1] += value * right;
    }
  }
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < 2; c++) *(Vector*)(y + r * t->y_step + c * LANES) = sums[r][c];
}

#if TOGETHER > 6
#define CASES CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#else
#define CASES CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#endif
#define CASE(n)                    \
  case n:                          \
    OWN(_tile)(t, w, y, ahead, n); \
    break;

// As many rows as a tile has, known when this is compiled, so that its sums stay in registers.
INSTRUCTIONS static void OWN(_rows)(const Tile* t, const float* w, float* y, const char* ahead, int rows) {
  switch (rows) { CASES }
}

// So many rows by one panel.
INSTRUCTIONS static void ROWS(const Tile* whole, int64_t count, const float* w, float* y) {
  const int64_t tiles = (count + TOGETHER - 1) / TOGETHER;
  Tile t = *whole;
  const char* ahead = (const char*)t.next;
  t.ahead = PANEL * (int64_t)sizeof(float) / tiles;
  for (int64_t i = 0, row = 0; i < tiles; i++) {
    const int64_t rows = (count - row) / (tiles - i);
    for (int c = 0; c < PANEL; c += WIDTH) OWN(_rows)(&t, w + c, y + row * t.y_step + c, ahead, (int)rows);
    t.x += rows * t.x_step;
    ahead += t.depth * t.ahead;
    row += rows;
  }
}

#undef OWN
#undef Vector
#undef WIDTH
#undef CASE
#undef CASES
#undef LANES
#undef TOGETHER
#undef INSTRUCTIONS
#undef ROWS
