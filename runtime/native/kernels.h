// The operators of the library, the processors that they know, and what they share.
#pragma once
#include "ort.h"

enum Instructions { NONE, AVX2, AVX512_VNNI, AMX };  // each with those before it
enum { MAX_RANK = 8 };

extern const OrtCustomOp BLOCK_MATMUL, GROUPED_MATMUL, LINEAR, LINEAR_ATTENTION;

// What this processor has, and no more than LAMINA_INSTRUCTIONS says (none, avx2, avx512).
enum Instructions instructions(void);

// The data of an input, the number of its elements, and its sizes if `dims` is not null. An input that is not given is null.
OrtStatus* read_input(const OrtKernelContext* context, size_t index, const void** data, int64_t* dims, size_t* rank, int64_t* count);
OrtStatus* make_output(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, void** data);

// The same for all operators.
const char* cpu(const OrtCustomOp* op);
int on_cpu(const OrtCustomOp* op, size_t index);
int first_version(const OrtCustomOp* op);
int last_version(const OrtCustomOp* op);
