// The part of ONNX Runtime's C interface that a library of operators needs.
//
// Its wheel brings no headers. The interface is a table of functions to which releases only append, so a function is known by its place.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct OrtApi OrtApi;
typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;

enum { ORT_VERSION = 17 };  // that of the interface: 1.17 was the first release with all of this
enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6, ORT_INT64 = 7, ORT_FLOAT16 = 10 };
enum { ORT_REQUIRED = 0, ORT_OPTIONAL = 1, ORT_VARIADIC = 2 };

typedef struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)(void);
} OrtApiBase;

// What an operator tells of itself. Members that are null are not asked.
typedef struct OrtCustomOp OrtCustomOp;
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, void*);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

typedef OrtStatus* Status;

// Place in the table, result, name, arguments.
#define ORT_FUNCTIONS(F)                                                                                                                \
  F(0, Status, CreateStatus, int code, const char* message)                                                                             \
  F(26, Status, CreateCustomOpDomain, const char* name, OrtCustomOpDomain** domain)                                                     \
  F(27, Status, CustomOpDomain_Add, OrtCustomOpDomain* domain, const OrtCustomOp* op)                                                   \
  F(28, Status, AddCustomOpDomain, OrtSessionOptions* options, OrtCustomOpDomain* domain)                                               \
  F(51, Status, GetTensorMutableData, OrtValue* value, void** data)                                                                     \
  F(61, Status, GetDimensionsCount, const OrtTensorTypeAndShapeInfo* info, size_t* count)                                               \
  F(62, Status, GetDimensions, const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t n)                                          \
  F(65, Status, GetTensorTypeAndShape, const OrtValue* value, OrtTensorTypeAndShapeInfo** info)                                         \
  F(85, Status, KernelInfoGetAttribute_float, const OrtKernelInfo* info, const char* name, float* value)                                \
  F(86, Status, KernelInfoGetAttribute_int64, const OrtKernelInfo* info, const char* name, int64_t* value)                              \
  F(88, Status, KernelContext_GetInputCount, const OrtKernelContext* context, size_t* count)                                            \
  F(90, Status, KernelContext_GetInput, const OrtKernelContext* context, size_t index, const OrtValue** value)                          \
  F(91, Status, KernelContext_GetOutput, OrtKernelContext* context, size_t index, const int64_t* dims, size_t n, OrtValue** value)      \
  F(99, void, ReleaseTensorTypeAndShapeInfo, OrtTensorTypeAndShapeInfo* info)                                                           \
  F(230, Status, KernelInfo_GetInputCount, const OrtKernelInfo* info, size_t* count)                                                    \
  F(249, Status, KernelInfoGetConstantInput_tensor, const OrtKernelInfo* info, size_t index, int* given, const OrtValue** value)        \
  F(274, Status, KernelContext_ParallelFor, const OrtKernelContext* context, void (*body)(void*, size_t), size_t total, size_t batches, \
    void* argument)

#define ORT_CALL(place, result, name, ...) extern result (*name)(__VA_ARGS__);
ORT_FUNCTIONS(ORT_CALL)
#undef ORT_CALL
