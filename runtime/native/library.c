// What ONNX Runtime asks of a library of operators: to add them to a session's options. And what the operators share.
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#define ORT_CALL(place, result, name, ...) result (*name)(__VA_ARGS__);
ORT_FUNCTIONS(ORT_CALL)
#undef ORT_CALL

static void find_functions(const OrtApi* api) {
#define ORT_CALL(place, result, name, ...) name = ((result(*const*)(__VA_ARGS__))api)[place];
  ORT_FUNCTIONS(ORT_CALL)
#undef ORT_CALL
}

// A processor that lacks the instructions gets no operators: ONNX Runtime then runs what the file says that each is.
__attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ORT_VERSION);
  if (api == NULL || instructions() == NONE) return NULL;
  find_functions(api);
  OrtCustomOpDomain* domain = NULL;
  OrtStatus* failed = CreateCustomOpDomain("lamina.native", &domain);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &BLOCK_MATMUL);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &GROUPED_MATMUL);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &LINEAR_ATTENTION);
  return failed != NULL ? failed : AddCustomOpDomain(options, domain);
}

enum Instructions instructions(void) {
  const char* most = getenv("LAMINA_INSTRUCTIONS");
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return NONE;
  if (most != NULL && strcmp(most, "none") == 0) return NONE;
  const int wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide && __builtin_cpu_supports("avx512vnni") && (most == NULL || strcmp(most, "avx2") != 0) ? AVX512_VNNI : AVX2;
}

// For who asks what will run, before any session does.
__attribute__((visibility("default"))) const char* lamina_instructions(void) {
  static const char* const names[] = {"none", "AVX2", "AVX-512 VNNI"};
  return names[instructions()];
}

OrtStatus* read_input(const OrtKernelContext* context, size_t index, const void** data, int64_t* dims, size_t* rank, int64_t* count) {
  const OrtValue* value = NULL;
  OrtTensorTypeAndShapeInfo* info = NULL;
  int64_t sizes[MAX_RANK];
  *data = NULL;
  *rank = 0;
  OrtStatus* failed = KernelContext_GetInput(context, index, &value);
  if (failed != NULL || value == NULL) return failed;
  failed = GetTensorTypeAndShape(value, &info);
  if (failed != NULL) return failed;
  failed = GetDimensionsCount(info, rank);
  if (failed == NULL && *rank > MAX_RANK) failed = CreateStatus(ORT_INVALID_ARGUMENT, "an input has more than 8 dimensions");
  if (failed == NULL) failed = GetDimensions(info, sizes, *rank);
  ReleaseTensorTypeAndShapeInfo(info);
  if (failed != NULL) return failed;
  *count = 1;
  for (size_t i = 0; i < *rank; i++) {
    *count *= sizes[i];
    if (dims != NULL) dims[i] = sizes[i];
  }
  return GetTensorMutableData((OrtValue*)value, (void**)data);
}

OrtStatus* make_output(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, void** data) {
  OrtValue* value = NULL;
  OrtStatus* failed = KernelContext_GetOutput(context, index, dims, rank, &value);
  return failed != NULL ? failed : GetTensorMutableData(value, data);
}

const char* cpu(const OrtCustomOp* op) { return NULL; }
int on_cpu(const OrtCustomOp* op, size_t index) { return 0; }
int first_version(const OrtCustomOp* op) { return 1; }
int last_version(const OrtCustomOp* op) { return INT32_MAX; }
