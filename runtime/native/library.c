// What ONNX Runtime asks of a library of operators: to add them to a session's options. And what the operators share.
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels.h"

#define ORT_CALL(place, result, name, ...) result (*name)(__VA_ARGS__);
ORT_FUNCTIONS(ORT_CALL)
#undef ORT_CALL

static void find_functions(const OrtApi* api) {
#define ORT_CALL(place, result, name, ...) name = ((result(*const*)(__VA_ARGS__))api)[place];
  ORT_FUNCTIONS(ORT_CALL)
#undef ORT_CALL
}

// A processor that lacks the instructions does not get an operator: ONNX Runtime then runs what the file says that it is.
__attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ORT_VERSION);
  if (api == NULL || instructions() == NONE) return NULL;
  find_functions(api);
  OrtCustomOpDomain* domain = NULL;
  OrtStatus* failed = CreateCustomOpDomain("lamina.native", &domain);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &BLOCK_MATMUL);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &GROUPED_MATMUL);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &LINEAR_ATTENTION);
  if (failed == NULL) failed = CustomOpDomain_Add(domain, &CONV);
  if (failed == NULL && instructions() == AMX) failed = CustomOpDomain_Add(domain, &LINEAR);
  return failed != NULL ? failed : AddCustomOpDomain(options, domain);
}

// Whether there is a matrix unit of bfloat16, and the system lets this process use it.
static int has_matrix_unit(void) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & bit_AMX_BF16) == 0 || (d & bit_AMX_TILE) == 0) return 0;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & bit_AVX512BF16) == 0) return 0;
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}

enum Instructions instructions(void) {
  static const char* const names[] = {"none", "avx2", "avx512"};
  const char* said = getenv("LAMINA_INSTRUCTIONS");
  enum Instructions most = AMX;
  for (int i = NONE; said != NULL && i < AMX; i++)
    if (strcmp(said, names[i]) == 0) most = (enum Instructions)i;
  __builtin_cpu_init();
  if (most == NONE || !__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return NONE;
  const int wide = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (most == AVX2 || !wide || !__builtin_cpu_supports("avx512vnni")) return AVX2;
  return most == AMX && has_matrix_unit() ? AMX : AVX512_VNNI;
}

// For who asks what will run, before any session does.
__attribute__((visibility("default"))) const char* lamina_instructions(void) {
  static const char* const names[] = {"none", "AVX2", "AVX-512 VNNI", "AMX"};
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

OrtStatus* read_constant(const OrtKernelInfo* info, size_t index, const float** data, int64_t* dims, size_t rank) {
  const OrtValue* value = NULL;
  OrtTensorTypeAndShapeInfo* shape = NULL;
  size_t found = 0;
  int given = 0;
  *data = NULL;
  OrtStatus* failed = KernelInfoGetConstantInput_tensor(info, index, &given, &value);
  if (failed != NULL || !given) return failed;
  failed = GetTensorTypeAndShape(value, &shape);
  if (failed != NULL) return failed;
  failed = GetDimensionsCount(shape, &found);
  if (failed == NULL && found != rank)
    failed = CreateStatus(ORT_INVALID_ARGUMENT, "a weight, or a bias, has not the rank that it must have");
  if (failed == NULL) failed = GetDimensions(shape, dims, rank);
  ReleaseTensorTypeAndShapeInfo(shape);
  return failed != NULL ? failed : GetTensorMutableData((OrtValue*)value, (void**)data);
}

OrtStatus* make_output(OrtKernelContext* context, size_t index, const int64_t* dims, size_t rank, void** data) {
  OrtValue* value = NULL;
  OrtStatus* failed = KernelContext_GetOutput(context, index, dims, rank, &value);
  return failed != NULL ? failed : GetTensorMutableData(value, data);
}

Memory* take(_Atomic(Memory*)* spare, size_t size) {
  Memory* memory = atomic_exchange(spare, NULL);
  if (memory != NULL && memory->size >= size) return memory;
  free(memory);
  memory = aligned_alloc(64, sizeof *memory + (size + 63) / 64 * 64);
  if (memory != NULL) memory->size = size;
  return memory;
}

void give(_Atomic(Memory*)* spare, Memory* memory) { free(atomic_exchange(spare, memory)); }

const char* cpu(const OrtCustomOp* op) { return NULL; }
int on_cpu(const OrtCustomOp* op, size_t index) { return 0; }
int first_version(const OrtCustomOp* op) { return 1; }
int last_version(const OrtCustomOp* op) { return INT32_MAX; }
