// The operators of the library, the processors that they know, and what they share.
#pragma once
#include <stdatomic.h>

#include "ort.h"

enum Instructions { NONE, AVX2, AVX512_VNNI, AMX };  // each with those before it
enum { MAX_RANK = 8 };

extern const OrtCustomOp BLOCK_MATMUL, CONV, GROUPED_MATMUL, LINEAR, LINEAR_ATTENTION;

// What this processor has, and no more than LAMINA_INSTRUCTIONS says (none, avx2, avx512).
enum Instructions instructions(void);

// The data of an input, the number of its elements, and its sizes if `dims` is not null. An input that is not given is null.
OrtStatus* read_input(const OrtKernelContext* context, size_t index, const void** data, int64_t* dims, size_t* rank, int64_t* count);
// The data of an input that the file has, and its sizes, which must be `rank`. Of another input null.
OrtStatus* read_constant(const OrtKernelInfo* info, size_t index, const float** data, int64_t* dims, size_t rank);
OrtStatus* make_output(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, void** data);

// Memory that is kept from one call for the next, as the system would hand it out page by page. What it holds stands after it.
typedef struct {
  size_t size;
  char none[64 - sizeof(size_t)];
} Memory;

Memory* take(_Atomic(Memory*)* spare, size_t size);
void give(_Atomic(Memory*)* spare, Memory* memory);

// The same for all operators.
const char* cpu(const OrtCustomOp* op);
int on_cpu(const OrtCustomOp* op, size_t index);
int first_version(const OrtCustomOp* op);
int last_version(const OrtCustomOp* op);
